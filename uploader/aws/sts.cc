#include "uploader/aws/sts.h"

#include <pugixml.hpp>

#include "base/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "uploader/retry.h"

namespace snapstore {
namespace {

constexpr const char* kVersion = "2011-06-15";
constexpr const char* kDefaultRegion = "us-east-1";
constexpr std::chrono::milliseconds kDeadline{30'000};

QueryParameters RoleParameters(const char* action, const RoleRequest& role) {
  QueryParameters parameters = {
      {"Action", action},
      {"Version", kVersion},
      {"RoleArn", role.role_arn},
      {"RoleSessionName", role.session_name.empty() ? "snapstore" : role.session_name}};
  if (!role.duration_seconds.empty()) {
    parameters.emplace_back("DurationSeconds", role.duration_seconds);
  }
  return parameters;
}

Result<AwsCredentials> ParseAnswer(const HttpResponse& response) {
  pugi::xml_document document;
  const bool parsed =
      document.load_buffer(response.body.data(), response.body.size()).status == pugi::status_ok;
  if (!response.Successful()) {
    const pugi::xml_node error = document.first_child().child("Error");
    const std::string message = "STS answers " + std::to_string(response.status) + " " +
                                error.child_value("Code") + ": " + error.child_value("Message");
    return response.status >= HttpStatus::kInternalServerError ? Status::Io(message)
                                                               : Status::PermissionDenied(message);
  }
  const pugi::xml_node found = document.first_child().first_child().child("Credentials");
  if (!parsed || !found) return Status::Io("STS sent something that has no credentials");
  AwsCredentials credentials{.access_key_id = found.child_value("AccessKeyId"),
                             .secret_access_key = found.child_value("SecretAccessKey"),
                             .session_token = found.child_value("SessionToken")};
  SNAP_ASSIGN_OR_RETURN(credentials.expires_ns, ParseTime(found.child_value("Expiration")));
  return credentials;
}

}  // namespace

Sts::Sts(const AwsEnvironment& environment)
    : region_(environment.Region().empty() ? kDefaultRegion : environment.Region()),
      endpoint_(environment.Endpoint("STS").empty() ? "https://sts." + region_ + ".amazonaws.com"
                                                    : environment.Endpoint("STS")),
      client_({.ca_file = environment.CaBundle()}) {}

Result<AwsCredentials> Sts::AssumeRole(const RoleRequest& role, const AwsCredentials& credentials) {
  QueryParameters parameters = RoleParameters("AssumeRole", role);
  if (!role.external_id.empty()) parameters.emplace_back("ExternalId", role.external_id);
  return Call(parameters, &credentials);
}

Result<AwsCredentials> Sts::AssumeRoleWithWebIdentity(const RoleRequest& role,
                                                      const std::string& token) {
  QueryParameters parameters = RoleParameters("AssumeRoleWithWebIdentity", role);
  parameters.emplace_back("WebIdentityToken", token);
  return Call(parameters, nullptr);
}

Result<AwsCredentials> Sts::Call(const QueryParameters& parameters,
                                 const AwsCredentials* credentials) {
  SNAP_ASSIGN_OR_RETURN(const Url url, ParseUrl(endpoint_));
  const std::string form = EncodeQuery(parameters);
  const ByteSpan body = AsBytes(form);
  const RetryPolicy policy{.deadline = kDeadline};
  for (Backoff backoff(policy);;) {
    HttpRequest request{.method = "POST",
                        .url = url.Origin() + "/",
                        .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                        .body = {&body, 1}};
    if (credentials != nullptr) {
      const SigV4Request to_sign{.method = request.method,
                                 .headers = {{"host", url.Authority()}, request.headers.front()},
                                 .payload_sha256 = Sha256::Of(body).ToHex()};
      for (HttpHeader& header :
           SignInHeaders(to_sign, *credentials, {region_, "sts"}, WallNanos())) {
        request.headers.push_back(std::move(header));
      }
    }
    const Result<HttpResponse> response = client_.Send(request);
    Result<AwsCredentials> answer =
        response.ok() ? ParseAnswer(*response) : Result<AwsCredentials>(response.status());
    if (answer.ok() || !IsTransient(answer.status())) return answer;
    SNAP_RETURN_IF_ERROR(backoff.Wait(answer.status()));
  }
}

}  // namespace snapstore
