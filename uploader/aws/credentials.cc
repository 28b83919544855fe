#include "uploader/aws/credentials.h"

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
constexpr int kRoleChainMax = 5;
constexpr const char* kContainerHost = "http://169.254.170.2";
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

Found FromContainer(const AwsEnvironment& environment) {
  const std::string relative = environment.Variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const std::string full = environment.Variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (relative.empty() && full.empty()) return None();
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
  SNAP_ASSIGN_OR_RETURN(const HttpResponse response, client.Send(request));
  if (!response.Successful()) {
    return Status::Io("the container's credentials: answer " + std::to_string(response.status));
  }
  return ToFound(ParseCredentialJson(AsText(response.body)));
}

Found FromInstance(const AwsEnvironment& environment) {
  if (environment.Variable("AWS_EC2_METADATA_DISABLED") == "true") return None();
  constexpr const char* kRoles = "/latest/meta-data/iam/security-credentials/";
  Imds imds(environment.Variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
  const Result<std::string> roles = imds.Get(kRoles);
  if (roles.status().Is(StatusCode::kUnsupported)) return None();
  if (roles.status().Is(StatusCode::kNotFound)) return None();  // an instance without a role
  if (!roles.ok()) return roles.status();
  const std::string role = roles->substr(0, roles->find_first_of("\r\n"));
  SNAP_ASSIGN_OR_RETURN(const std::string answer, imds.Get(kRoles + PercentEncode(role)));
  return ToFound(ParseCredentialJson(answer));
}

// Credentials of one profile, following roles to the profiles they are assumed with.
class ProfileReader {
 public:
  explicit ProfileReader(const AwsEnvironment& environment) : environment_(environment) {}

  Found Read(const std::string& name, int depth = 0) const {
    if (depth > kRoleChainMax) {
      return Status::InvalidArgument("profile '" + name + "': source_profile leads in a circle");
    }
    const AwsProfile* const profile = environment_.Profile(name);
    if (profile == nullptr) return None();
    const auto setting = [profile](const std::string& key) {
      const auto it = profile->find(key);
      return it == profile->end() ? std::string() : it->second;
    };
    const RoleRequest role{.role_arn = setting("role_arn"),
                           .session_name = setting("role_session_name"),
                           .external_id = setting("external_id"),
                           .duration_seconds = setting("duration_seconds")};
    if (const std::string file = setting("web_identity_token_file"); !file.empty()) {
      return FromWebIdentity(environment_, file, role);
    }
    // A profile may be the source of its own role: then its keys are meant.
    const std::string source = setting("source_profile");
    if (!role.role_arn.empty() && !(source == name && depth > 0)) {
      return AssumeRole(name, role, source, setting("credential_source"), depth);
    }
    AwsCredentials keys{.access_key_id = setting("aws_access_key_id"),
                        .secret_access_key = setting("aws_secret_access_key"),
                        .session_token = setting("aws_session_token")};
    if (!keys.access_key_id.empty() && !keys.secret_access_key.empty()) {
      return std::optional<AwsCredentials>(std::move(keys));
    }
    if (const std::string command = setting("credential_process"); !command.empty()) {
      SNAP_ASSIGN_OR_RETURN(const std::string answer, RunCredentialProcess(command));
      return ToFound(ParseCredentialJson(answer));
    }
    return None();
  }

 private:
  Found AssumeRole(const std::string& name, const RoleRequest& role, const std::string& source,
                   const std::string& credential_source, int depth) const {
    Found with = None();
    if (!source.empty()) {
      with = Read(source, depth + 1);
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
