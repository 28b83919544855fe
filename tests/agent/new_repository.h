// A repository of a test's own.
#ifndef SNAPSTORE_TESTS_AGENT_NEW_REPOSITORY_H_
#define SNAPSTORE_TESTS_AGENT_NEW_REPOSITORY_H_

#include <memory>
#include <string>

#include "base/status_macros.h"
#include "snapstore/repository.h"

namespace snapstore::agent {

// Made in `folder`/repo, with its cache beside it.
inline Result<std::unique_ptr<Repository>> NewRepository(const std::string& folder,
                                                         uint64_t memory_limit) {
  RepositoryOptions options;
  options.location = folder + "/repo";
  options.cache_dir = folder + "/cache";
  options.memory_limit = memory_limit;
  SNAP_RETURN_IF_ERROR(Repository::Init(options));
  return Repository::Open(options);
}

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_NEW_REPOSITORY_H_
