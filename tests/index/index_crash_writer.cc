// index_crash_writer FOLDER CHUNKS: adds packs 0, 1, 2, … of CHUNKS chunks each until it is killed,
// and prints one byte after each.
#include <unistd.h>

#include <cstdio>

#include "tests/index/index_testlib.h"

int main(int argc, char** argv) {
  using namespace snapstore;
  if (argc != 3) return 2;
  const size_t chunks = std::strtoull(argv[2], nullptr, 10);
  auto index = ChunkIndex::Open({argv[1], 8 << 20});
  if (!index.ok()) {
    std::fprintf(stderr, "%s\n", index.status().ToString().c_str());
    return 1;
  }
  for (uint64_t pack = 0;; ++pack) {
    const Status added = (*index)->AddPack(test::NumberedDigest(pack),
                                           test::NumberedChunks(pack, chunks), pack % 2 == 0);
    if (!added.ok() || write(STDOUT_FILENO, "+", 1) != 1) return 1;
  }
}
