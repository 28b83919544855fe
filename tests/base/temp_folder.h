// TempFolder: a folder of its own for one test, removed with all it holds.
#ifndef SNAPSTORE_TESTS_BASE_TEMP_FOLDER_H_
#define SNAPSTORE_TESTS_BASE_TEMP_FOLDER_H_

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"

namespace snapstore {

class TempFolder {
 public:
  explicit TempFolder(const std::filesystem::path& below = std::filesystem::temp_directory_path()) {
    std::string pattern = (below / "snapstore-XXXXXX").string();
    SNAP_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_BASE_TEMP_FOLDER_H_
