// Where the chunk indexes of all repositories live.
#ifndef SNAPSTORE_ENGINE_CACHE_ROOT_H_
#define SNAPSTORE_ENGINE_CACHE_ROOT_H_

#include <string>

#include "snapstore/repository.h"

namespace snapstore {

// By the options or the environment; it need not exist. InvalidArgument when neither says.
Result<std::string> CacheRoot(const RepositoryOptions& options);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CACHE_ROOT_H_
