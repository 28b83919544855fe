#include "uploader/aws/credentials.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "uploader/aws/credential_json.h"
#include "uploader/aws/imds.h"
#include "uploader/aws/sts.h"
#include "uploader/retry.h"

namespace snapstore {
namespace {

using Found = Result<std::optional<AwsCredentials>>;

constexpr size_t kTokenBytesMax = 64 << 10;
constexpr const char* kContainerHost = "http://169.254.170.2";
constexpr int kContainerAttempts = 3;
constexpr std::chrono::milliseconds kContainerTimeout{2000};
// Between attempts to replace credentials that are still good for a while.
constexpr int64_t kRetryNanos = 60 * kNanosPerSecond;

Found ToFound(const Result<AwsCredentials>& credentials) {
  if (!credentials.ok()) return credentials.status();
  return std::optional<AwsCredentials>(*credentials);
}

Found None() { return std::optional<AwsCredentials>(); }

Result<std::string> ReadToken(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadWholeFile(path, kTokenBytesMax));
  std::string token(AsText(bytes));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  HideInLogs(token);
  return token;
}

Found FromEnvironment(const AwsEnvironment& environment) {
  AwsCredentials found{.access_key_id = environment.Variable("AWS_ACCESS_KEY_ID"),
                       .secret_access_key = environment.Variable("AWS_SECRET_ACCESS_KEY"),
                       .session_token = environment.Variable("AWS_SESSION_TOKEN")};
  if (found.access_key_id.empty() && found.secret_access_key.empty()) return None();
  if (found.access_key_id.empty() || found.secret_access_key.empty()) {
    return Status::InvalidArgument(
        "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set");
  }
  return std::optional<AwsCredentials>(std::move(found));
}

Found FromWebIdentity(const AwsEnvironment& environment, const std::string& token_file,
                      const RoleRequest& role) {
  if (token_file.empty()) return None();
  if (role.role_arn.empty()) {
    return Status::InvalidArgument("there is a web identity token, but no role (AWS_ROLE_ARN)");
  }
  // Read each time: whoever issues tokens replaces the file.
  SNAP_ASSIGN_OR_RETURN(const std::string token, ReadToken(token_file));
  return ToFound(Sts(environment).AssumeRoleWithWebIdentity(role, token));
}

// Where a full address may lead over plain http: this machine, and the agents of ECS and EKS. A
// token must not be sent to anybody else.
bool IsContainerAgent(const Url& url) {
  constexpr std::array<std::string_view, 5> kHosts = {"localhost", "[::1]", "169.254.170.2",
                                                      "169.254.170.23", "[fd00:ec2::23]"};
  // Of an address only: anybody can have a name that begins like one.
  in_addr address{};
  const bool loopback =
      ::inet_pton(AF_INET, url.host.c_str(), &address) == 1 && url.host.starts_with("127.");
  return url.scheme == "https" || loopback ||
         std::find(kHosts.begin(), kHosts.end(), url.host) != kHosts.end();
}

Status CheckContainerAddress(const std::string& address) {
  const Result<Url> url = ParseUrl(address.substr(0, address.find('?')));
  if (!url.ok()) return url.status().WithContext("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (IsContainerAgent(*url)) return {};
  return Status::PermissionDenied("AWS_CONTAINER_CREDENTIALS_FULL_URI: " + url->host +
                                  " is neither this machine nor an agent of ECS or EKS; others "
                                  "are asked by https only");
}

Found FromContainer(const AwsEnvironment& environment) {
  const std::string relative = environment.Variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const std::string full = environment.Variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (relative.empty() && full.empty()) return None();
  if (relative.empty()) SNAP_RETURN_IF_ERROR(CheckContainerAddress(full));
  HttpRequest request{.url = relative.empty() ? full : kContainerHost + relative};
  std::string token = environment.Variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  const std::string file = environment.Variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  if (!file.empty()) {
    SNAP_ASSIGN_OR_RETURN(token, ReadToken(file));
  }
  if (token.find_first_of("\r\n") != std::string::npos) {
    return Status::InvalidArgument("the container's authorization token has a line break");
  }
  if (!token.empty()) request.headers.push_back({"Authorization", token});
  HttpClient client({.connect_timeout = kContainerTimeout,
                     .stall_timeout = kContainerTimeout,
                     .use_proxy = false});
  Status failure;
  for (int attempt = 0; attempt < kContainerAttempts; ++attempt) {
    const Result<HttpResponse> response = client.Send(request);
    if (response.ok() && response->Successful()) {
      return ToFound(ParseCredentialJson(AsText(response->body)));
    }
    failure = response.status();
    if (!response.ok()) continue;
    const std::string what = "the agent answers " + std::to_string(response->status);
    if (response->status < HttpStatus::kInternalServerError) return Status::PermissionDenied(what);
    failure = Status::Io(what);
  }
  return failure;
}

Found FromInstance(const AwsEnvironment& environment) {
  if (environment.Variable("AWS_EC2_METADATA_DISABLED") == "true") return None();
  constexpr const char* kRoles = "/latest/meta-data/iam/security-credentials/";
  Imds imds(environment.Variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
  const Result<std::string> roles = imds.Get(kRoles);
  if (roles.status().Is(StatusCode::kNotFound)) {
    return Status::Unsupported("the instance has no role");
  }
  if (!roles.ok()) return roles.status();
  const std::string role = roles->substr(0, roles->find_first_of("\r\n"));
  SNAP_ASSIGN_OR_RETURN(const std::string answer, imds.Get(kRoles + PercentEncode(role)));
  return ToFound(ParseCredentialJson(answer));
}

// Credentials of one profile, following roles to the profiles they are assumed with.
class ProfileReader {
 public:
  explicit ProfileReader(const AwsEnvironment& environment) : environment_(environment) {}

  // `asked`: the profiles whose roles are to be assumed with what comes out of this.
  Found Read(const std::string& name, std::vector<std::string> asked = {}) const {
    const AwsProfile* const profile = environment_.Profile(name);
    if (profile == nullptr) {
      if (asked.empty()) return None();
      return Status::InvalidArgument("profile '" + asked.back() + "' names the source_profile '" +
                                     name + "', which does not exist");
    }
    if (std::find(asked.begin(), asked.end(), name) != asked.end()) {
      std::string circle;
      for (const std::string& link : asked) circle += link + " -> ";
      return Status::InvalidArgument("source_profile leads in a circle: " + circle + name);
    }
    const auto setting = [profile](const std::string& key) { return Setting(*profile, key); };
    const RoleRequest role{.role_arn = setting("role_arn"),
                           .session_name = setting("role_session_name"),
                           .external_id = setting("external_id"),
                           .duration_seconds = setting("duration_seconds")};
    if (const std::string file = setting("web_identity_token_file"); !file.empty()) {
      return FromWebIdentity(environment_, file, role);
    }
    if (!role.role_arn.empty()) {
      asked.push_back(name);
      return AssumeRole(*profile, role, asked);
    }
    return ReadKeys(name, *profile);
  }

 private:
  static std::string Setting(const AwsProfile& profile, const std::string& key) {
    const auto it = profile.find(key);
    return it == profile.end() ? std::string() : it->second;
  }

  // What the profile has without any role.
  static Found ReadKeys(const std::string& name, const AwsProfile& profile) {
    AwsCredentials keys{.access_key_id = Setting(profile, "aws_access_key_id"),
                        .secret_access_key = Setting(profile, "aws_secret_access_key"),
                        .session_token = Setting(profile, "aws_session_token")};
    if (!keys.access_key_id.empty() && !keys.secret_access_key.empty()) {
      return std::optional<AwsCredentials>(std::move(keys));
    }
    if (!keys.access_key_id.empty() || !keys.secret_access_key.empty()) {
      return Status::InvalidArgument("profile '" + name +
                                     "' has only one of aws_access_key_id and "
                                     "aws_secret_access_key");
    }
    if (const std::string command = Setting(profile, "credential_process"); !command.empty()) {
      SNAP_ASSIGN_OR_RETURN(const std::string answer, RunCredentialProcess(command));
      return ToFound(ParseCredentialJson(answer));
    }
    if (profile.contains("sso_session") || profile.contains("sso_start_url")) {
      return Status::InvalidArgument(
          "profile '" + name +
          "' logs in by IAM Identity Center (sso_…), which is not supported; a profile with "
          "'credential_process = aws configure export-credentials --format process --profile " +
          name + "' uses that login");
    }
    return None();
  }

  Found AssumeRole(const AwsProfile& profile, const RoleRequest& role,
                   const std::vector<std::string>& asked) const {
    const std::string& name = asked.back();
    const std::string source = Setting(profile, "source_profile");
    const std::string credential_source = Setting(profile, "credential_source");
    Found with = None();
    if (source == name) {
      // A profile may be the source of its own role: then its keys are meant.
      with = ReadKeys(name, profile);
    } else if (!source.empty()) {
      with = Read(source, asked);
    } else if (credential_source == "Environment") {
      with = FromEnvironment(environment_);
    } else if (credential_source == "EcsContainer") {
      with = FromContainer(environment_);
    } else if (credential_source == "Ec2InstanceMetadata") {
      with = FromInstance(environment_);
    } else {
      return Status::InvalidArgument("profile '" + name +
                                     "' has role_arn, but neither source_profile nor a known "
                                     "credential_source");
    }
    // Named by the profile, so that its absence is no reason to look elsewhere.
    if (with.status().Is(StatusCode::kUnsupported)) {
      return Status::PermissionDenied(with.status().message());
    }
    if (!with.ok()) return with.status();
    if (!with->has_value()) {
      return Status::PermissionDenied("profile '" + name + "': no credentials to assume " +
                                      role.role_arn + " with");
    }
    return ToFound(Sts(environment_).AssumeRole(role, **with));
  }

  const AwsEnvironment& environment_;
};

}  // namespace

AwsCredentialChain::AwsCredentialChain(std::vector<CredentialSource> sources,
                                       std::function<int64_t()> clock)
    : sources_(std::move(sources)), clock_(std::move(clock)) {}

Result<AwsCredentials> AwsCredentialChain::Get() {
  const std::lock_guard lock(mutex_);
  const int64_t now = clock_();
  if (valid_ && (refresh_ns_ == 0 || now < refresh_ns_)) return current_;
  Result<AwsCredentials> fetched = Fetch();
  if (!fetched.ok()) {
    if (!valid_ || (current_.expires_ns != 0 && now >= current_.expires_ns)) {
      return fetched.status();
    }
    LogWarning("AWS credentials could not be renewed, the old ones serve on: {}",
               fetched.status().message());
    refresh_ns_ = now + kRetryNanos;
    return current_;
  }
  current_ = std::move(*fetched);
  HideInLogs(current_.secret_access_key);
  HideInLogs(current_.session_token);
  valid_ = true;
  refresh_ns_ =
      current_.expires_ns == 0 ? 0 : now + std::max<int64_t>(current_.expires_ns - now, 0) / 4 * 3;
  return current_;
}

Result<AwsCredentials> AwsCredentialChain::Fetch() {
  std::string asked;
  for (const CredentialSource& source : sources_) {
    if (chosen_ != nullptr && chosen_ != &source) continue;
    const Found found = source.load();
    if (found.status().Is(StatusCode::kUnsupported)) {
      asked += (asked.empty() ? "" : ", ") + source.name + ": " + found.status().message();
      continue;
    }
    if (!found.ok()) {
      const Status failure = found.status().WithContext("AWS credentials from " + source.name);
      // A token file that is not there must not pass for an object that is not there.
      return IsTransient(failure) ? failure : Status::PermissionDenied(failure.message());
    }
    if (found->has_value()) {
      chosen_ = &source;
      return **found;
    }
    asked += (asked.empty() ? "" : ", ") + source.name;
  }
  return Status::PermissionDenied("no AWS credentials found (looked in: " + asked + ")");
}

void AwsCredentialChain::Invalidate(const AwsCredentials& credentials) {
  const std::lock_guard lock(mutex_);
  if (credentials.access_key_id == current_.access_key_id &&
      credentials.session_token == current_.session_token) {
    valid_ = false;
  }
}

std::string AwsCredentialChain::source() const {
  const std::lock_guard lock(mutex_);
  return chosen_ == nullptr ? "" : chosen_->name;
}

std::vector<AwsCredentialChain::Finding> AwsCredentialChain::Explain() const {
  std::vector<Finding> findings;
  for (const CredentialSource& source : sources_) {
    const Found found = source.load();
    const bool some = found.ok() && found->has_value();
    std::string says = found.status().message();
    if (found.ok()) says = some ? "key " + (*found)->access_key_id : "nothing there";
    findings.push_back({source.name, std::move(says), some});
  }
  return findings;
}

std::unique_ptr<AwsCredentialChain> DefaultCredentialChain(
    const std::shared_ptr<const AwsEnvironment>& environment) {
  const auto web_identity = [environment] {
    return FromWebIdentity(*environment, environment->Variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
                           {.role_arn = environment->Variable("AWS_ROLE_ARN"),
                            .session_name = environment->Variable("AWS_ROLE_SESSION_NAME")});
  };
  const std::string profile = environment->profile_name();
  std::vector<CredentialSource> sources = {
      {"environment", [environment] { return FromEnvironment(*environment); }},
      {"web identity", web_identity},
      {"profile '" + profile + "'",
       [environment, profile] { return ProfileReader(*environment).Read(profile); }},
      {"container", [environment] { return FromContainer(*environment); }},
      {"instance", [environment] { return FromInstance(*environment); }}};
  return std::make_unique<AwsCredentialChain>(std::move(sources), WallNanos);
}

}  // namespace snapstore
