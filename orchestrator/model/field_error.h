// FieldErrors: what is wrong with a document, each problem named by the path of its field as the
// client wrote it: "managedInstance.compute.subnetIds[1]: must be …".
//
// Thread safety: a value.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_FIELD_ERROR_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_FIELD_ERROR_H_

#include <string>
#include <utility>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::spot {

struct FieldError {
  std::string path;
  std::string message;

  std::string ToString() const { return path + ": " + message; }
  bool operator==(const FieldError&) const = default;
};

class FieldErrors {
 public:
  static constexpr size_t kErrorsMax = 20;  // further ones are dropped

  void Add(std::string path, std::string message) {
    if (errors_.size() < kErrorsMax) errors_.push_back({std::move(path), std::move(message)});
  }
  bool empty() const { return errors_.empty(); }
  const std::vector<FieldError>& all() const { return errors_; }

  // OK when empty, else InvalidArgument with all of them.
  Status ToStatus() const {
    if (errors_.empty()) return Status::Ok();
    std::string text;
    for (const FieldError& error : errors_) text += (text.empty() ? "" : "; ") + error.ToString();
    return Status::InvalidArgument(std::move(text));
  }

 private:
  std::vector<FieldError> errors_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_FIELD_ERROR_H_
