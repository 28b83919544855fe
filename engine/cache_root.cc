#include "engine/cache_root.h"

#include <cstdlib>

namespace snapstore {

Result<std::string> CacheRoot(const RepositoryOptions& options) {
  if (!options.cache_dir.empty()) return options.cache_dir;
  const auto env = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (std::string dir = env("SNAPSTORE_CACHE_DIR"); !dir.empty()) return dir;
  if (std::string dir = env("XDG_CACHE_HOME"); !dir.empty()) return dir + "/snapstore";
  if (std::string dir = env("HOME"); !dir.empty()) return dir + "/.cache/snapstore";
  return Status::InvalidArgument("no cache directory: set SNAPSTORE_CACHE_DIR or HOME");
}

}  // namespace snapstore
