#include "orchestrator/ec2/aws_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

namespace snapstore {
namespace {

template <size_t N>
bool IsOneOf(std::string_view code, const std::array<std::string_view, N>& codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

constexpr std::array<std::string_view, 9> kThrottled = {
    "RequestLimitExceeded",  "PriorRequestNotComplete", "Throttling",
    "ThrottlingException",   "RequestThrottled",        "SlowDown",
    "EC2ThrottledException", "TooManyRequests",         "RequestThrottledException"};
constexpr std::array<std::string_view, 5> kExpired = {
    "RequestExpired", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
    "InvalidClientTokenId"};

// By an exact code. kInternal: it is not known by that.
StatusCode StatusCodeOfKnown(std::string_view code) {
  constexpr std::array<std::string_view, 8> kPasses = {
      "InternalError",  "InternalFailure",     "Unavailable",    "ServiceUnavailable",
      "RequestTimeout", "InternalServerError", "ServerInternal", "IDPCommunicationError"};
  constexpr std::array<std::string_view, 10> kRefused = {"UnauthorizedOperation",
                                                         "AuthFailure",
                                                         "SignatureDoesNotMatch",
                                                         "AccessDenied",
                                                         "AccessDeniedException",
                                                         "OptInRequired",
                                                         "Blocked",
                                                         "PendingVerification",
                                                         "IncompleteSignature",
                                                         "MissingAuthenticationToken"};
  constexpr std::array<std::string_view, 9> kInTheWay = {
      "IncorrectState",      "IncorrectInstanceState",      "VolumeInUse",
      "DependencyViolation", "IdempotentParameterMismatch", "OperationNotPermitted",
      "ConcurrentTagAccess", "Resource.AlreadyAssociated",  "ConflictException"};
  constexpr std::array<std::string_view, 4> kCannot = {"Unsupported", "UnsupportedOperation",
                                                       "InvalidAction", "NotImplemented"};
  if (IsOneOf(code, kThrottled)) return StatusCode::kThrottled;
  if (IsOneOf(code, kPasses)) return StatusCode::kIo;
  if (IsOneOf(code, kRefused) || IsOneOf(code, kExpired)) return StatusCode::kPermissionDenied;
  if (IsOneOf(code, kInTheWay)) return StatusCode::kConflict;
  if (IsOneOf(code, kCannot)) return StatusCode::kUnsupported;
  return StatusCode::kInternal;
}

// EC2: <Response><Errors><Error>… and <RequestID>; the rest: <ErrorResponse><Error>… <RequestId>.
// Of a change that was refused Route 53 may say <InvalidChangeBatch><Messages><Message>….
void ReadXml(const pugi::xml_document& document, AwsFailure* failure) {
  const pugi::xml_node root = document.first_child();
  const pugi::xml_node listed = root.child("Errors").child("Error");
  const pugi::xml_node error = listed ? listed : root.child("Error");
  failure->code = error.child_value("Code");
  failure->message = error.child_value("Message");
  if (std::string_view(root.name()) == "InvalidChangeBatch") {
    failure->code = root.name();
    failure->message = root.child("Messages").child_value("Message");
  }
  for (const char* name : {"RequestID", "RequestId", "requestId"}) {
    if (failure->request_id.empty()) failure->request_id = root.child_value(name);
  }
}

void ReadJson(const HttpResponse& response, AwsFailure* failure) {
  const nlohmann::json document =
      nlohmann::json::parse(response.body.begin(), response.body.end(), nullptr, false);
  const auto text = [&document](const char* name) -> std::string {
    if (!document.is_object()) return {};
    const auto found = document.find(name);
    return found != document.end() && found->is_string() ? found->get<std::string>() : "";
  };
  // "ValidationException:http://…", as "REST-JSON protocol" has it.
  const std::string_view header = response.Header("x-amzn-errortype");
  failure->code = header.substr(0, header.find(':'));
  for (const char* name : {"__type", "code"}) {
    if (failure->code.empty()) failure->code = text(name);
  }
  if (const size_t hash = failure->code.rfind('#'); hash != std::string::npos) {
    failure->code.erase(0, hash + 1);
  }
  failure->message = text("message");
  if (failure->message.empty()) failure->message = text("Message");
  failure->request_id = response.Header("x-amzn-requestid");
}

}  // namespace

StatusCode StatusCodeOfAwsCode(std::string_view code, int http_status) {
  const StatusCode known = StatusCodeOfKnown(code);
  if (known != StatusCode::kInternal) return known;
  if (code.ends_with(".NotFound") || code == "ResourceNotFoundException" ||
      code == "TargetGroupNotFound" || code == "LoadBalancerNotFound" ||
      code == "NoSuchHostedZone") {
    return StatusCode::kNotFound;
  }
  if (code.starts_with("Insufficient") || code.ends_with("LimitExceeded") ||
      code == "MaxSpotInstanceCountExceeded" || code == "SpotMaxPriceTooLow") {
    return StatusCode::kNoSpace;
  }
  if (code.ends_with(".InUse") || code.ends_with(".Duplicate")) return StatusCode::kConflict;
  if (http_status == HttpStatus::kTooManyRequests) return StatusCode::kThrottled;
  if (http_status == HttpStatus::kForbidden || http_status == HttpStatus::kUnauthorized) {
    return StatusCode::kPermissionDenied;
  }
  if (http_status >= HttpStatus::kInternalServerError &&
      http_status != HttpStatus::kNotImplemented) {
    return StatusCode::kIo;
  }
  return StatusCode::kInvalidArgument;
}

AwsFailure ParseAwsFailure(const HttpResponse& response, std::string_view what) {
  AwsFailure failure{.status = {}, .http_status = response.status};
  pugi::xml_document document;
  if (document.load_buffer(response.body.data(), response.body.size())) {
    ReadXml(document, &failure);
  } else {
    ReadJson(response, &failure);
  }
  std::string text =
      fmt::format("{}: {}", what,
                  failure.code.empty() ? fmt::format("HTTP {}", response.status) : failure.code);
  if (!failure.message.empty()) text += ": " + failure.message;
  if (!failure.request_id.empty()) text += " (request " + failure.request_id + ")";
  failure.status = Status(StatusCodeOfAwsCode(failure.code, response.status), std::move(text));
  return failure;
}

bool AsksForLess(const AwsFailure& failure) {
  return IsOneOf(failure.code, kThrottled) || failure.http_status == HttpStatus::kTooManyRequests;
}

bool HasExpired(const AwsFailure& failure) { return IsOneOf(failure.code, kExpired); }

bool IsLackOfCapacity(std::string_view code) {
  constexpr std::array<std::string_view, 9> kCodes = {"InsufficientInstanceCapacity",
                                                      "SpotMaxPriceTooLow",
                                                      "MaxSpotInstanceCountExceeded",
                                                      "VcpuLimitExceeded",
                                                      "InstanceLimitExceeded",
                                                      "Unsupported",
                                                      "InsufficientHostCapacity",
                                                      "InsufficientCapacity",
                                                      "InsufficientFreeAddressesInSubnet"};
  return IsOneOf(code, kCodes);
}

}  // namespace snapstore
