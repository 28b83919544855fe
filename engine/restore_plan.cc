#include "engine/restore_plan.h"

#include <algorithm>
#include <tuple>

namespace snapstore {
namespace {

// Stored bytes of one batch. As large as the fetcher's reads.
constexpr uint64_t kBatchBytes = 4 << 20;
// A frame that many files share must not make a batch that one thread works on for long.
constexpr size_t kBatchPartsMax = 16384;
// What a link costs beside its strings.
constexpr size_t kLinkBytes = 512;

}  // namespace

uint32_t RestoreWindow::AddOutput(std::shared_ptr<RestoreOutput> output) {
  bytes_ += output->footprint();
  outputs_.push_back(std::move(output));
  return static_cast<uint32_t>(outputs_.size() - 1);
}

void RestoreWindow::AddPart(const RestorePart& part) {
  bytes_ += sizeof(RestorePart);
  content_bytes_ += part.bytes();
  outputs_[part.output]->AddPart();
  parts_.push_back(part);
}

void RestoreWindow::AddLink(Entry entry) {
  bytes_ += kLinkBytes + entry.path.size() + entry.hard_link_to.size();
  links_.push_back(std::move(entry));
}

void RestoreWindow::Clear() {
  bytes_ = 0;
  content_bytes_ = 0;
  parts_.clear();
  outputs_.clear();
  links_.clear();
}

std::vector<std::span<const RestorePart>> CutBatches(std::vector<RestorePart>* parts) {
  std::sort(parts->begin(), parts->end(), [](const RestorePart& a, const RestorePart& b) {
    return std::tie(a.chunk.pack, a.chunk.frame_offset, a.chunk.chunk_in_frame, a.output,
                    a.offset) <
           std::tie(b.chunk.pack, b.chunk.frame_offset, b.chunk.chunk_in_frame, b.output, b.offset);
  });
  std::vector<std::span<const RestorePart>> batches;
  const std::span<const RestorePart> all(*parts);
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool new_frame = i == 0 || !all[i].chunk.SameFrame(all[i - 1].chunk);
    const bool full = (new_frame && bytes + all[i].chunk.frame_length > kBatchBytes) ||
                      i - begin >= kBatchPartsMax;
    if (i > begin && full) {
      batches.push_back(all.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    if (new_frame || i == begin) bytes += all[i].chunk.frame_length;
  }
  if (begin < all.size()) batches.push_back(all.subspan(begin));
  return batches;
}

}  // namespace snapstore
