// An image source for tests: straight from captured memory.
#ifndef SNAPSTORE_TESTS_AGENT_MEMORY_IMAGES_H_
#define SNAPSTORE_TESTS_AGENT_MEMORY_IMAGES_H_

#include <map>
#include <string>
#include <vector>

#include "agent/arena.h"
#include "agent/image_serve.h"
#include "base/file.h"

namespace snapstore::agent {

class MemoryImages : public ImageSource {
 public:
  explicit MemoryImages(const std::vector<ArenaFile>& files) {
    for (const ArenaFile& file : files) {
      Bytes& bytes = images_[file.name];
      for (const auto& part : file.parts) bytes.insert(bytes.end(), part.begin(), part.end());
    }
  }
  bool Has(const std::string& name) const override { return images_.contains(name); }
  Status WriteTo(const std::string& name, int fd) override {
    return WriteFull(fd, images_.at(name), name);
  }
  const Bytes& Get(const std::string& name) { return images_[name]; }

 private:
  std::map<std::string, Bytes> images_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_MEMORY_IMAGES_H_
