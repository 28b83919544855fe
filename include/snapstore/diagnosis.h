// Diagnosis: one thing that was looked at, and whether it is as it should be.
//
// Thread safety: values only.
#ifndef SNAPSTORE_DIAGNOSIS_H_
#define SNAPSTORE_DIAGNOSIS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace snapstore {

struct Diagnosis {
  enum class Grade {
    kOk,
    kWarning,  // works, but slower, costlier or riskier than it need be
    kFailure,  // something will not work
  };
  using Fact = std::variant<bool, int64_t, double, std::string>;

  std::string subject = {};  // "io_uring", "credentials": the same in every version
  Grade grade = Grade::kOk;
  std::string text = {};  // one line for people; never a secret
  // The same for programs; names as in docs/json.md.
  std::vector<std::pair<std::string, Fact>> facts = {};
};

// Takes one after the other, as they come.
using DiagnosisSink = std::function<void(Diagnosis)>;

}  // namespace snapstore

#endif  // SNAPSTORE_DIAGNOSIS_H_
