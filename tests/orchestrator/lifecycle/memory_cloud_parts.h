// What the source files of MemoryCloud share.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_MEMORY_CLOUD_PARTS_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_MEMORY_CLOUD_PARTS_H_

#include <algorithm>
#include <string>
#include <vector>

#include "tests/orchestrator/lifecycle/memory_cloud.h"

namespace snapstore::spot {

inline AwsFailure Refused(const std::string& code, const std::string& message) {
  return {.status = Status(StatusCodeOfAwsCode(code, 400), code + ": " + message),
          .http_status = 400,
          .code = code,
          .message = message,
          .request_id = {}};
}

inline bool Among(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

template <typename T>
Ec2Result<T> MemoryCloud::Change(const std::string& action,
                                 const std::function<Ec2Result<T>()>& body) {
  ++calls[action];
  if (around) {
    if (auto failure = around(action, false)) return *std::move(failure);
  }
  Ec2Result<T> result = body();
  if (around) {
    if (auto failure = around(action, true)) return *std::move(failure);
  }
  return result;
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_MEMORY_CLOUD_PARTS_H_
