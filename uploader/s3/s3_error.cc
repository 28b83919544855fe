#include "uploader/s3/s3_error.h"

#include <algorithm>
#include <array>
#include <pugixml.hpp>

namespace snapstore {
namespace {

template <size_t N>
bool IsOneOf(std::string_view code, const std::array<std::string_view, N>& codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

bool AsksForLess(const S3Error& error) {
  constexpr std::array<std::string_view, 6> kCodes = {
      "SlowDown",         "Throttling",           "ThrottlingException",
      "RequestThrottled", "RequestLimitExceeded", "TooManyRequests"};
  return IsOneOf(error.code, kCodes) || error.http_status == HttpStatus::kServiceUnavailable ||
         error.http_status == HttpStatus::kTooManyRequests;
}

bool MayPass(const S3Error& error) {
  // The second half blames the body, which is right here: it was damaged on the way.
  constexpr std::array<std::string_view, 11> kCodes = {
      "InternalError", "RequestTimeout",
      // Names of new buckets take their time.
      "TemporaryRedirect", "OperationAborted", "ConditionalRequestConflict", "ServiceUnavailable",
      "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
      "IncompleteBody"};
  if (IsOneOf(error.code, kCodes) || error.http_status == HttpStatus::kRequestTimeout) return true;
  return error.http_status >= HttpStatus::kInternalServerError &&
         error.http_status != HttpStatus::kNotImplemented;
}

}  // namespace

S3Error ParseS3Error(const HttpResponse& response) {
  S3Error error{.http_status = response.status};
  pugi::xml_document document;
  if (document.load_buffer(response.body.data(), response.body.size())) {
    const pugi::xml_node node = document.child("Error");
    error.code = node.child_value("Code");
    error.message = node.child_value("Message");
    error.region = node.child_value("Region");
    error.request_id = node.child_value("RequestId");
  }
  if (error.code.empty()) error.code = "HTTP " + std::to_string(response.status);
  const std::string_view region = response.Header("x-amz-bucket-region");
  if (!region.empty()) error.region = region;
  if (error.request_id.empty()) error.request_id = response.Header("x-amz-request-id");
  return error;
}

S3Remedy RemedyFor(const S3Error& error) {
  constexpr std::array<std::string_view, 3> kExpired = {"ExpiredToken", "ExpiredTokenException",
                                                        "TokenRefreshRequired"};
  if (IsOneOf(error.code, kExpired)) return S3Remedy::kNewCredentials;
  if (error.code == "RequestTimeTooSkewed") return S3Remedy::kCorrectClock;
  const bool elsewhere =
      error.code == "AuthorizationHeaderMalformed" || error.code == "PermanentRedirect" ||
      error.code == "TemporaryRedirect" || error.code == "IllegalLocationConstraintException" ||
      error.http_status == HttpStatus::kMovedPermanently ||
      error.http_status == HttpStatus::kTemporaryRedirect ||
      // HEAD has no body to say why.
      (error.http_status == HttpStatus::kBadRequest && error.code.starts_with("HTTP "));
  if (elsewhere && !error.region.empty()) return S3Remedy::kOtherRegion;
  if (AsksForLess(error)) return S3Remedy::kSlowDown;
  return MayPass(error) ? S3Remedy::kRetry : S3Remedy::kNone;
}

Status ToStatus(const S3Error& error) {
  std::string text = error.code;
  if (!error.message.empty()) text += ": " + error.message;
  if (!error.request_id.empty()) text += " (request " + error.request_id + ")";
  if (error.code == "NoSuchKey") return Status::NotFound(std::move(text));
  if (error.code == "NoSuchBucket") {
    return Status::InvalidArgument("the bucket does not exist: " + text);
  }
  switch (RemedyFor(error)) {
    case S3Remedy::kSlowDown:
      return Status::Throttled(std::move(text));
    case S3Remedy::kRetry:
      return Status::Io(std::move(text));
    default:
      break;
  }
  constexpr std::array<std::string_view, 4> kFull = {"QuotaExceeded", "EntityTooLarge",
                                                     "InsufficientStorage", "StorageFull"};
  if (IsOneOf(error.code, kFull)) return Status::NoSpace(std::move(text));
  // By code, since an error may stand in a success.
  constexpr std::array<std::string_view, 3> kRefused = {"AccessDenied", "ExpiredToken",
                                                        "RequestTimeTooSkewed"};
  if (error.http_status == HttpStatus::kForbidden ||
      error.http_status == HttpStatus::kUnauthorized || IsOneOf(error.code, kRefused)) {
    return Status::PermissionDenied(std::move(text));
  }
  if (error.http_status == HttpStatus::kNotImplemented) return Status::Unsupported(std::move(text));
  if (error.http_status == HttpStatus::kPreconditionFailed ||
      error.http_status == HttpStatus::kConflict)
    return Status::Conflict(std::move(text));
  return Status::InvalidArgument(std::move(text));
}

}  // namespace snapstore
