// index_crash_writer FOLDER CHUNKS LOAD: adds packs 0, 1, 2, … of CHUNKS chunks each until it is
// killed, and prints one byte after each. With LOAD not 0, every LOAD packs are one load and one
// byte, each followed by one pack, and one byte, without a load.
#include <unistd.h>

#include <cstdio>

#include "base/status_macros.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

Status Add(ChunkSink& sink, uint64_t pack, size_t chunks) {
  return sink.AddPack(test::NumberedDigest(pack), test::NumberedChunks(pack, chunks),
                      pack % 2 == 0);
}

Status Load(ChunkIndex& index, uint64_t first, uint64_t count, size_t chunks) {
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ChunkLoad> load, index.StartLoad());
  for (uint64_t pack = first; pack < first + count; ++pack) {
    SNAP_RETURN_IF_ERROR(Add(*load, pack, chunks));
  }
  return load->Commit({});
}

Status Run(const std::string& folder, size_t chunks, uint64_t load) {
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ChunkIndex> index,
                        ChunkIndex::Open({folder, 8 << 20}));
  for (uint64_t pack = 0;;) {
    if (load != 0) {
      SNAP_RETURN_IF_ERROR(Load(*index, pack, load, chunks));
      pack += load;
      if (write(STDOUT_FILENO, "+", 1) != 1) return Status::Io("write");
    }
    SNAP_RETURN_IF_ERROR(Add(*index, pack++, chunks));
    if (write(STDOUT_FILENO, "+", 1) != 1) return Status::Io("write");
  }
}

}  // namespace
}  // namespace snapstore

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto status = snapstore::Run(argv[1], std::strtoull(argv[2], nullptr, 10),
                                     std::strtoull(argv[3], nullptr, 10));
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
