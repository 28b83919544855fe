// RestoreWindow: the parts of a restore that are carried out together.
//
// Parts are collected in the order of entries until the window's memory is used up, then fetched in
// the order of the store. A file may span many windows; a window may hold many files.
//
// Thread safety: belongs to one thread while it is filled, and is constant while carried out.
#ifndef SNAPSTORE_ENGINE_RESTORE_PLAN_H_
#define SNAPSTORE_ENGINE_RESTORE_PLAN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/format.h"
#include "engine/format.pb.h"
#include "engine/restore_output.h"
#include "engine/run_list.h"
#include "snapstore/status.h"

namespace snapstore {

// Content that goes to one place: a chunk some times over, or zeros.
struct RestorePart {
  ChunkRef chunk;       // length 0: zeros
  uint32_t output = 0;  // in RestoreWindow::outputs
  uint64_t offset = 0;
  uint64_t count = 0;  // repetitions of the chunk, or zero bytes

  bool zeros() const { return chunk.id.length == 0; }
  uint64_t bytes() const { return zeros() ? count : count * chunk.id.length; }
};

class RestoreWindow {
 public:
  explicit RestoreWindow(size_t bytes_max) : bytes_max_(bytes_max) {}

  bool Full() const { return bytes_ >= bytes_max_; }
  bool empty() const { return outputs_.empty() && links_.empty(); }
  size_t bytes() const { return bytes_; }                    // of memory, about
  uint64_t content_bytes() const { return content_bytes_; }  // that its parts stand for

  // The output's ordinal for AddPart.
  uint32_t AddOutput(std::shared_ptr<RestoreOutput> output);
  void AddPart(const RestorePart& part);
  // A hard link, made once the window is done.
  void AddLink(Entry entry);
  // Makes it ready for use again.
  void Clear();

  std::vector<RestorePart>& parts() { return parts_; }
  const std::vector<std::shared_ptr<RestoreOutput>>& outputs() const { return outputs_; }
  const std::vector<Entry>& links() const { return links_; }

 private:
  const size_t bytes_max_;
  size_t bytes_ = 0;
  uint64_t content_bytes_ = 0;
  std::vector<RestorePart> parts_;
  std::vector<std::shared_ptr<RestoreOutput>> outputs_;
  std::vector<Entry> links_;
};

// Sorts parts by their place in the store and cuts them into batches of neighbouring frames, one
// read each or little more.
std::vector<std::span<const RestorePart>> CutBatches(std::vector<RestorePart>* parts);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_PLAN_H_
