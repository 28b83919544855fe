// MemoryFolder: a folder on a tmpfs of its own, for tests with more files than some disks can bear.
// What the machine offers in /dev/shm may be too small or absent. The mount is seen by this process
// only and ends with it; whoever may not mount gets a folder on disk.
#ifndef SNAPSTORE_TESTS_BASE_MEMORY_FOLDER_H_
#define SNAPSTORE_TESTS_BASE_MEMORY_FOLDER_H_

#include <sched.h>
#include <sys/mount.h>

#include <string>

#include "tests/base/temp_folder.h"

namespace snapstore {

class MemoryFolder {
 public:
  // To be made before any thread that is to see it.
  explicit MemoryFolder(const char* size = "size=4g") {
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", mount_point_.path().c_str(), "tmpfs", 0, size) == 0;
  }
  ~MemoryFolder() {
    if (mounted_) ::umount2(mount_point_.path().c_str(), MNT_DETACH);
  }
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;

  const std::string& path() const { return mount_point_.path(); }
  bool mounted() const { return mounted_; }

 private:
  TempFolder mount_point_;
  bool mounted_ = false;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_BASE_MEMORY_FOLDER_H_
