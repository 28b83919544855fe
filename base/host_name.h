// The name this machine has.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_BASE_HOST_NAME_H_
#define SNAPSTORE_BASE_HOST_NAME_H_

#include <string>

namespace snapstore {

// As gethostname(2) gives it; any bytes. "localhost" where it gives none.
std::string HostName();

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_HOST_NAME_H_
