// AwsFailure: what an AWS service says when it refuses, and Ec2Result, which carries it.
// Source: "Error codes for the Amazon EC2 API", Amazon EC2 API Reference.
//
// Callers branch on `status` for what every service shares and on `code` for what EC2 alone
// says ("InsufficientInstanceCapacity"); the latter is passed on to users unchanged.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_AWS_ERROR_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_AWS_ERROR_H_

#include <string>
#include <string_view>
#include <utility>

#include "snapstore/status.h"
#include "uploader/http/http.h"

namespace snapstore {

struct AwsFailure {
  Status status;             // never OK
  int http_status = 0;       // 0: there was no answer
  std::string code = {};     // empty: there was no answer, or none that names one
  std::string message = {};  // the service's own words
  std::string request_id = {};
};

// A value, or the failure that says why there is none. Works with SNAP_ASSIGN_OR_RETURN.
template <typename T>
class [[nodiscard]] Ec2Result {
 public:
  Ec2Result(T value) : result_(std::move(value)) {}  // NOLINT: implicit by intent
  Ec2Result(AwsFailure failure)                      // NOLINT: implicit by intent
      : result_(failure.status), failure_(std::move(failure)) {}
  Ec2Result(Status status)  // NOLINT: implicit by intent
      : Ec2Result(AwsFailure{.status = std::move(status)}) {}

  bool ok() const { return result_.ok(); }
  const Status& status() const& { return result_.status(); }
  Status status() && { return std::move(result_).status(); }
  // REQUIRES: !ok().
  const AwsFailure& failure() const { return failure_; }
  // The service's code; empty when it succeeded or none is known.
  const std::string& code() const { return failure_.code; }

  // REQUIRES: ok().
  T& value() & { return result_.value(); }
  const T& value() const& { return result_.value(); }
  T&& value() && { return std::move(result_).value(); }
  T& operator*() & { return result_.value(); }
  const T& operator*() const& { return result_.value(); }
  T&& operator*() && { return std::move(result_).value(); }
  T* operator->() { return &result_.value(); }
  const T* operator->() const { return &result_.value(); }

 private:
  Result<T> result_;
  AwsFailure failure_;
};

// A success that has nothing to tell.
struct AwsReceipt {
  std::string request_id = {};
};

// Reads an answer that is no success: EC2's <Response><Errors>, the <ErrorResponse> of the other
// query services, Route 53's <InvalidChangeBatch>, and the JSON of REST services. `what` names the
// action.
AwsFailure ParseAwsFailure(const HttpResponse& response, std::string_view what);

// The status that a code stands for; `http_status` decides for codes that are not known.
StatusCode StatusCodeOfAwsCode(std::string_view code, int http_status);

// The service asks for less.
bool AsksForLess(const AwsFailure& failure);
// The credentials have expired: others may do.
bool HasExpired(const AwsFailure& failure);
// Another market (type, zone, on-demand in place of spot) may have what this one lacks.
bool IsLackOfCapacity(std::string_view code);

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_AWS_ERROR_H_
