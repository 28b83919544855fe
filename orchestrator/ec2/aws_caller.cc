#include "orchestrator/ec2/aws_caller.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <pugixml.hpp>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kXmlMax = 64 << 20;
constexpr const char* kForm = "application/x-www-form-urlencoded; charset=utf-8";
constexpr const char* kXml = "application/xml";

Url ParsedEndpoint(const std::string& endpoint) {
  const Result<Url> url = ParseUrl(endpoint);
  SNAP_CHECK(url.ok());  // tested when the options were made
  return *url;
}

Ec2Result<std::shared_ptr<pugi::xml_document>> ParseAnswer(const HttpResponse& answer,
                                                           const std::string& what) {
  auto document = std::make_shared<pugi::xml_document>();
  if (!document->load_buffer(answer.body.data(), answer.body.size())) {
    return Status::Io(fmt::format("{}: the answer is no XML", what));
  }
  return document;
}

}  // namespace

Result<AwsServiceOptions> MakeAwsServiceOptions(const std::string& service,
                                                const AwsEnvironment& environment) {
  AwsServiceOptions options;
  options.service = service;
  options.region = environment.Region();
  if (options.region.empty()) {
    return Status::InvalidArgument(
        fmt::format("{}: no region is set: set AWS_REGION, or region in the profile", service));
  }
  std::string upper = service;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::replace(upper.begin(), upper.end(), '-', '_');
  options.endpoint = environment.Endpoint(upper);
  if (options.endpoint.empty()) {
    options.endpoint = fmt::format("https://{}.{}.amazonaws.com{}", service, options.region,
                                   options.region.starts_with("cn-") ? ".cn" : "");
  }
  const Result<Url> url = ParseUrl(options.endpoint);
  if (!url.ok()) {
    return url.status().WithContext(fmt::format("AWS_ENDPOINT_URL_{}", upper));
  }
  options.ca_file = environment.CaBundle();
  return options;
}

AwsCaller::AwsCaller(AwsServiceOptions options, std::shared_ptr<AwsCredentialChain> credentials)
    : options_(std::move(options)),
      endpoint_(ParsedEndpoint(options_.endpoint)),
      credentials_(std::move(credentials)),
      http_({.ca_file = options_.ca_file, .cancelled = options_.cancelled}),
      retry_{.deadline = options_.deadline, .cancelled = options_.cancelled} {}

void AwsCaller::Remember(const std::string& id) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  std::erase_if(new_ids_,
                [&](const auto& entry) { return entry.second + options_.consistency < now; });
  new_ids_[id] = now;
}

bool AwsCaller::NamesNewId(const QueryParameters& parameters) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  return std::any_of(parameters.begin(), parameters.end(), [&](const auto& parameter) {
    const auto found = new_ids_.find(parameter.second);
    return found != new_ids_.end() && found->second + options_.consistency > now;
  });
}

bool AwsCaller::MayRepeat(const Call& call, const AwsFailure& failure) {
  if (failure.status.Is(StatusCode::kCancelled)) return false;
  if (AsksForLess(failure)) return true;
  // Refused before anything was done, as the codes' descriptions say.
  if (failure.code == "Unavailable" || failure.code == "ServiceUnavailable") return true;
  if (call.parameters != nullptr && failure.status.Is(StatusCode::kNotFound) &&
      NamesNewId(*call.parameters)) {
    return true;
  }
  return call.repeat == Repeat::kSafe && IsTransient(failure.status);
}

Ec2Result<HttpResponse> AwsCaller::Attempt(const Call& call, Mended* mended, bool* at_once) {
  SNAP_ASSIGN_OR_RETURN(const AwsCredentials credentials, credentials_->Get());
  const ByteSpan body = AsBytes(call.body);
  SigV4Request to_sign{.method = call.method,
                       .path = call.path,
                       .query = call.query,
                       .headers = {{"Host", endpoint_.Authority()}},
                       .payload_sha256 = Sha256::Of(body).ToHex()};
  if (call.method == "POST") to_sign.headers.push_back({"Content-Type", call.content_type});
  const std::string query = EncodeQuery(call.query);
  HttpRequest request{.method = call.method,
                      .url = endpoint_.Origin() + call.path + (query.empty() ? "" : "?" + query),
                      .headers = to_sign.headers,
                      .body_max = call.body_max};
  if (call.method == "POST") request.body = {&body, 1};
  for (HttpHeader& header : SignInHeaders(to_sign, credentials, {options_.region, options_.service},
                                          WallNanos() + clock_offset_ns_)) {
    request.headers.push_back(std::move(header));
  }
  Result<HttpResponse> response = http_.Send(request);
  if (!response.ok()) return AwsFailure{.status = response.status().WithContext(call.what)};
  if (response->Successful()) return *std::move(response);
  AwsFailure failure = ParseAwsFailure(*response, call.what);
  // EC2 says RequestExpired for both an old signature and an old token.
  const Result<int64_t> server_time = ParseHttpDate(response->Header("date"));
  const bool clock = failure.code == "RequestExpired" || failure.code == "RequestTimeTooSkewed" ||
                     failure.message.find("Signature expired") != std::string::npos ||
                     failure.message.find("Signature not yet current") != std::string::npos;
  if (clock && !mended->clock && server_time.ok()) {
    mended->clock = true;
    clock_offset_ns_ = *server_time - WallNanos();
    *at_once = true;
  }
  if (HasExpired(failure) && !mended->credentials) {
    mended->credentials = true;
    credentials_->Invalidate(credentials);
    *at_once = true;
  }
  return failure;
}

Ec2Result<HttpResponse> AwsCaller::Send(const Call& call) {
  Mended mended;
  for (Backoff backoff(retry_);;) {
    bool at_once = false;
    Ec2Result<HttpResponse> answer = Attempt(call, &mended, &at_once);
    if (answer.ok()) return answer;
    if (at_once) continue;
    if (!MayRepeat(call, answer.failure())) return answer;
    LogDebug("{}, trying again", answer.status().message());
    if (Status waited = backoff.Wait(answer.status()); !waited.ok()) {
      AwsFailure failure = answer.failure();
      failure.status = std::move(waited);
      return failure;
    }
  }
}

Ec2Result<std::shared_ptr<pugi::xml_document>> AwsCaller::Query(const std::string& action,
                                                                QueryParameters parameters,
                                                                Repeat repeat) {
  parameters.emplace_back("Action", action);
  parameters.emplace_back("Version", options_.version);
  Ec2Result<HttpResponse> answer = Send({.what = action,
                                         .method = "POST",
                                         .path = "/",
                                         .query = {},
                                         .body = EncodeQuery(parameters),
                                         .content_type = kForm,
                                         .body_max = kXmlMax,
                                         .repeat = repeat,
                                         .parameters = &parameters});
  if (!answer.ok()) return answer.failure();
  return ParseAnswer(*answer, action);
}

Ec2Result<std::shared_ptr<pugi::xml_document>> AwsCaller::PostXml(const std::string& path,
                                                                  const std::string& xml,
                                                                  Repeat repeat) {
  const std::string what = fmt::format("POST {}", path);
  Ec2Result<HttpResponse> answer = Send({.what = what,
                                         .method = "POST",
                                         .path = path,
                                         .query = {},
                                         .body = xml,
                                         .content_type = kXml,
                                         .body_max = kXmlMax,
                                         .repeat = repeat});
  if (!answer.ok()) return answer.failure();
  return ParseAnswer(*answer, what);
}

Ec2Result<HttpResponse> AwsCaller::Get(const std::string& path, const QueryParameters& query,
                                       size_t body_max) {
  return Send({.what = fmt::format("GET {}", path),
               .method = "GET",
               .path = path,
               .query = query,
               .body = {},
               .body_max = body_max});
}

}  // namespace snapstore
