#include "uploader/internal/delete_failures.h"

#include <fmt/format.h>

#include "uploader/retry.h"

namespace snapstore::internal {
namespace {

constexpr size_t kNamesShown = 3;

}  // namespace

bool DeleteFailures::Add(const std::string& key, const Status& status) {
  if (status.ok() || status.Is(StatusCode::kNotFound)) return true;
  if (count_ == 0) first_ = status;
  if (count_ < kNamesShown) names_ += (count_ == 0 ? "" : ", ") + key;
  ++count_;
  return !IsTransient(status) && !status.Is(StatusCode::kCancelled);
}

Status DeleteFailures::ToStatus(size_t keys, size_t untried) const {
  if (count_ == 0) return {};
  const size_t left = count_ + untried;
  const std::string more = left > kNamesShown || untried > 0 ? ", and others" : "";
  return first_.WithContext(
      fmt::format("{} of {} objects not deleted ({}{})", left, keys, names_, more));
}

}  // namespace snapstore::internal
