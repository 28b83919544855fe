// ProblemLog: what a check has found so far, one problem an object.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_CHECK_REPORT_H_
#define SNAPSTORE_ENGINE_CHECK_REPORT_H_

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "snapstore/inspect.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr size_t kLostPathsMax = 100;

// Whether a failed read says that stored bytes are wrong or missing. Everything else means "could
// not tell" and ends the check.
inline bool IsDamage(const Status& status) {
  return status.Is(StatusCode::kCorruption) || status.Is(StatusCode::kNotFound) ||
         status.Is(StatusCode::kUnsupported);
}

class ProblemLog {
 public:
  // The first message for an object stays.
  void Add(const std::string& object, const std::string& message) {
    std::lock_guard lock(mutex_);
    ProblemOf(object, message);
  }
  // Same, and `path` ("snapshot-id:path") is lost by it.
  void AddLoss(const std::string& object, const std::string& message, const std::string& path) {
    std::lock_guard lock(mutex_);
    std::vector<std::string>& lost = ProblemOf(object, message).lost_paths;
    if (lost.size() >= kLostPathsMax) return;
    if (std::find(lost.begin(), lost.end(), path) == lost.end()) lost.push_back(path);
  }
  bool Has(const std::string& object) const {
    std::lock_guard lock(mutex_);
    return ordinals_.contains(object);
  }
  bool empty() const {
    std::lock_guard lock(mutex_);
    return problems_.empty();
  }
  // Leaves the log empty.
  std::vector<CheckProblem> Take() {
    std::lock_guard lock(mutex_);
    ordinals_.clear();
    return std::exchange(problems_, {});
  }

 private:
  CheckProblem& ProblemOf(const std::string& object, const std::string& message) {
    const auto [it, added] = ordinals_.emplace(object, problems_.size());
    if (added) problems_.push_back({object, message, {}});
    return problems_[it->second];
  }

  mutable std::mutex mutex_;
  std::map<std::string, size_t> ordinals_;
  std::vector<CheckProblem> problems_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CHECK_REPORT_H_
