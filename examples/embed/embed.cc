// Keeps versions of a block of memory in a snapstore repository and reads the older one back.
//
//   cmake -S examples/embed -B /tmp/embed -DCMAKE_PREFIX_PATH=PREFIX && cmake --build /tmp/embed
//   /tmp/embed/embed /tmp/embed-repo
#include <cstdio>
#include <string>
#include <vector>

#include "snapstore/reader.h"
#include "snapstore/repository.h"
#include "snapstore/snapshot.h"

namespace {

int Fail(const char* what, const snapstore::Status& status) {
  std::fprintf(stderr, "embed: %s: %s\n", what, status.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: embed REPOSITORY\n");
    return 2;
  }
  snapstore::RepositoryOptions options;
  options.location = argv[1];
  options.cache_dir = std::string(argv[1]) + ".cache";
  if (const snapstore::Status made = snapstore::Repository::Init(options);
      !made.ok() && !made.Is(snapstore::StatusCode::kConflict)) {
    return Fail("init", made);
  }
  const auto repository = snapstore::Repository::Open(options);
  if (!repository.ok()) return Fail("open", repository.status());

  // Sixteen megabytes, of which one page changes between two snapshots.
  std::vector<uint8_t> memory(16 << 20);
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<uint8_t>(i * i >> 12);
  std::vector<std::string> ids;
  for (int version = 0; version < 2; ++version) {
    memory[5 << 20] = static_cast<uint8_t>(version);
    snapstore::SnapshotRequest request;
    request.images.push_back({"heap", memory.size(), {{0, memory}}});
    const auto summary = snapstore::TakeSnapshot(**repository, request, nullptr);
    if (!summary.ok()) return Fail("snapshot", summary.status());
    ids.push_back(summary->info.id);
    std::printf("version %d: %llu new bytes\n", version,
                static_cast<unsigned long long>(summary->info.bytes_new));
  }

  const auto reader = snapstore::SnapshotReader::Open(**repository, ids.front());
  if (!reader.ok()) return Fail("open snapshot", reader.status());
  const auto content = (*reader)->OpenContent("heap");
  if (!content.ok()) return Fail("open content", content.status());
  uint8_t byte = 0xff;
  if (const snapstore::Status read = (*content)->ReadAt(5 << 20, {&byte, 1}); !read.ok()) {
    return Fail("read", read);
  }
  std::printf("the changed byte was %d in version 0\n", byte);
  return byte == 0 ? 0 : 1;
}
