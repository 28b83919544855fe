// Packs made from numbers, and a folder to keep an index in.
#ifndef SNAPSTORE_TESTS_INDEX_INDEX_TESTLIB_H_
#define SNAPSTORE_TESTS_INDEX_INDEX_TESTLIB_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"
#include "index/chunk_index.h"

namespace snapstore::test {

// A folder under the system's temporary one, removed with all in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "snapstore-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Digest NumberedDigest(uint64_t number) {
  SplitMix64 generator(~number);
  Digest digest;
  for (size_t at = 0; at < digest.bytes.size(); at += 8) {
    StoreLe(digest.bytes.data() + at, generator.Next());
  }
  return digest;
}

inline ChunkId NumberedChunk(uint64_t number) {
  SplitMix64 generator(number);
  ChunkId id;
  StoreLe(id.hash.data(), generator.Next());
  StoreLe(id.hash.data() + 8, generator.Next());
  id.length = 4096 + static_cast<uint32_t>(number % 1000);
  return id;
}

// The chunks of pack `pack`: numbers [pack * count, (pack + 1) * count).
inline std::vector<PackChunk> NumberedChunks(uint64_t pack, size_t count) {
  std::vector<PackChunk> chunks(count);
  for (size_t n = 0; n < count; ++n) {
    chunks[n].id = NumberedChunk(pack * count + n);
    chunks[n].frame_offset = static_cast<uint32_t>(n / 16 * 100'000);
    chunks[n].frame_length = static_cast<uint32_t>(100'000 - n % 7);
    chunks[n].chunk_in_frame = static_cast<uint16_t>(n % 16);
  }
  return chunks;
}

inline ChunkLocation LocationOf(uint64_t pack, const PackChunk& chunk) {
  return {NumberedDigest(pack), chunk.frame_offset, chunk.frame_length, chunk.chunk_in_frame};
}

}  // namespace snapstore::test

#endif  // SNAPSTORE_TESTS_INDEX_INDEX_TESTLIB_H_
