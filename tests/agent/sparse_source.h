// Reads MemorySources the way a repository would give it back.
#ifndef SNAPSTORE_TESTS_AGENT_SPARSE_SOURCE_H_
#define SNAPSTORE_TESTS_AGENT_SPARSE_SOURCE_H_

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "agent/checkpoint_image.h"
#include "base/check.h"
#include "base/unique_fd.h"

namespace snapstore::agent {

inline Bytes ReadSparse(const MemorySource& source, uint64_t offset, uint64_t length) {
  Bytes out(length);
  for (const MemorySource::Extent& extent : source.extents) {
    const uint64_t begin = std::max(offset, extent.offset);
    const uint64_t end = std::min(offset + length, extent.offset + extent.bytes.size());
    if (begin >= end) continue;
    std::copy_n(extent.bytes.data() + (begin - extent.offset), end - begin,
                out.data() + (begin - offset));
  }
  return out;
}

inline Bytes RegeneratePages(const Pagemap& map, const std::string& pagemap_name,
                             const std::vector<MemorySource>& sources) {
  int ends[2];
  SNAP_CHECK(pipe(ends) == 0);
  UniqueFd reader(ends[0]);
  std::thread writer([&] {
    UniqueFd fd(ends[1]);
    const Status written = WritePages(
        map.runs,
        [&](const std::vector<PageRun>& runs, MutableByteSpan out) {
          const std::string name = MemoryFileName(pagemap_name, runs.front().address);
          for (const MemorySource& source : sources) {
            if (source.name != name) continue;
            for (const PageRun& run : runs) {
              SNAP_CHECK(MemoryFileName(pagemap_name, run.address) == name);
              SNAP_CHECK(run.address % kWindowBytes + run.bytes <= source.size);
              const Bytes bytes = ReadSparse(source, run.address % kWindowBytes, run.bytes);
              std::copy(bytes.begin(), bytes.end(), out.begin());
              out = out.subspan(run.bytes);
            }
            return Status::Ok();
          }
          return Status::NotFound(name);
        },
        3, fd.get());
    SNAP_CHECK(written.ok());
  });
  Bytes out;
  uint8_t buffer[65536];
  for (ssize_t got; (got = read(reader.get(), buffer, sizeof(buffer))) > 0;) {
    out.insert(out.end(), buffer, buffer + got);
  }
  writer.join();
  return out;
}

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_SPARSE_SOURCE_H_
