#include "orchestrator/localcloud/authentication.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr int64_t kSkewNs = 15 * 60 * kNanosPerSecond;

std::string Hmac(std::string_view key, std::string_view text) {
  std::array<uint8_t, 32> out{};
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const uint8_t*>(text.data()), text.size(), out.data(), &length);
  return HexEncode(out);
}

bool SameText(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view HeaderOf(const SignedRequest& request, std::string_view name) {
  for (const HttpHeader& header : request.headers) {
    if (header.name == name) return header.value;
  }
  return {};
}

// "Credential=A, SignedHeaders=B, Signature=C" -> the value of one of them.
std::string_view Part(std::string_view header, std::string_view name) {
  const size_t at = header.find(fmt::format("{}=", name));
  if (at == header.npos) return {};
  header.remove_prefix(at + name.size() + 1);
  return header.substr(0, header.find_first_of(", "));
}

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.emplace_back(text.substr(0, end));
    if (end == text.size()) return parts;
    text.remove_prefix(end + 1);
  }
}

// "20150830T123600Z" as ParseTime wants it.
Result<int64_t> ParseAmzDate(std::string_view text) {
  if (text.size() != 16) return Status::InvalidArgument("no date");
  return ParseTime(fmt::format("{}-{}-{}T{}:{}:{}Z", text.substr(0, 4), text.substr(4, 2),
                               text.substr(6, 2), text.substr(9, 2), text.substr(11, 2),
                               text.substr(13, 2)));
}

ApiError Refused(std::string message) { return {"AuthFailure", std::move(message), 401}; }

struct Caller {
  AwsCredentials credentials;
  std::string arn;
};

// A session token is "role:instance:expiry" in the clear, and a code that only the cloud can make.
ApiResult<Caller> FindCaller(const CloudKeys& keys, const std::string& account,
                             const std::string& access_key, std::string_view token) {
  Caller caller;
  if (access_key == keys.access_key_id) {
    caller.credentials.access_key_id = access_key;
    caller.credentials.secret_access_key = keys.secret_access_key;
    caller.credentials.session_token = token;
    caller.arn = fmt::format("arn:aws:iam::{}:user/admin", account);
    return caller;
  }
  const auto parts = Split(token, ':');
  constexpr size_t kParts = 4;
  int64_t expires = 0;
  if (parts.size() == kParts) {
    std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), expires);
    caller.credentials = InstanceCredentials(keys, parts[0], parts[1], expires);
  }
  if (parts.size() != kParts || !SameText(caller.credentials.session_token, token) ||
      caller.credentials.access_key_id != access_key) {
    return Refused("AWS was not able to validate the provided access credentials");
  }
  if (expires < WallNanos()) {
    return ApiError{"ExpiredToken", "The security token included in the request is expired", 400};
  }
  caller.arn = fmt::format("arn:aws:sts::{}:assumed-role/{}/{}", account, parts[0], parts[1]);
  return caller;
}

}  // namespace

AwsCredentials InstanceCredentials(const CloudKeys& keys, const std::string& role,
                                   const std::string& instance_id, int64_t expires_ns) {
  const std::string claim = fmt::format("{}:{}:{}", role, instance_id, expires_ns);
  std::string id = Hmac(keys.instance_secret, "id:" + claim).substr(0, 16);
  std::transform(id.begin(), id.end(), id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  AwsCredentials made;
  made.access_key_id = "ASIA" + id;
  made.secret_access_key = Hmac(keys.instance_secret, "secret:" + claim).substr(0, 40);
  made.session_token = claim + ":" + Hmac(keys.instance_secret, "token:" + claim);
  made.expires_ns = expires_ns;
  return made;
}

CloudKeys MakeCloudKeys() {
  std::array<uint8_t, 60> random{};
  SecureRandom(random);
  const std::string hex = HexEncode(random);
  CloudKeys keys;
  std::string id = hex.substr(0, 16);
  std::transform(id.begin(), id.end(), id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  keys.access_key_id = "AKIA" + id;
  keys.secret_access_key = hex.substr(16, 40);
  keys.instance_secret = hex.substr(56);
  return keys;
}

ApiResult<std::string> Authenticate(const SignedRequest& request, const CloudKeys& keys,
                                    const std::string& account,
                                    std::initializer_list<std::string_view> services) {
  const std::string_view authorization = HeaderOf(request, "authorization");
  if (authorization.empty()) {
    return ApiError{"MissingAuthenticationToken", "Request is missing Authentication Token", 403};
  }
  const auto scope = Split(Part(authorization, "Credential"), '/');
  constexpr size_t kScopeParts = 5;  // key, date, region, service, "aws4_request"
  if (!authorization.starts_with("AWS4-HMAC-SHA256 ") || scope.size() != kScopeParts) {
    return ApiError{"IncompleteSignature",
                    "The request signature does not conform to AWS "
                    "standards: AWS4-HMAC-SHA256 in a header is expected"};
  }
  if (std::find(services.begin(), services.end(), scope[3]) == services.end()) {
    return Refused(
        fmt::format("Credential should be scoped to correct service, not '{}'", scope[3]));
  }
  const Result<int64_t> time = ParseAmzDate(HeaderOf(request, "x-amz-date"));
  if (!time.ok()) return Refused("X-Amz-Date is missing or no date");
  if (std::abs(*time - WallNanos()) > kSkewNs) {
    return ApiError{"RequestExpired", "Request has expired."};
  }
  SNAP_ASSIGN_OR_RETURN(const Caller caller, FindCaller(keys, account, scope[0],
                                                        HeaderOf(request, "x-amz-security-token")));
  SigV4Request to_sign{.method = request.method, .path = request.path, .query = request.query};
  for (const std::string& name : Split(Part(authorization, "SignedHeaders"), ';')) {
    // These two are added by the signing itself.
    if (name == "x-amz-date" || name == "x-amz-security-token") continue;
    to_sign.headers.push_back({name, std::string(HeaderOf(request, name))});
  }
  to_sign.payload_sha256 = Sha256::Of(AsBytes(request.body)).ToHex();
  for (const HttpHeader& header :
       SignInHeaders(to_sign, caller.credentials, {scope[2], scope[3]}, *time)) {
    if (header.name != "Authorization") continue;
    if (SameText(Part(header.value, "Signature"), Part(authorization, "Signature"))) {
      return caller.arn;
    }
  }
  return ApiError{"SignatureDoesNotMatch",
                  "The request signature we calculated does not match the signature you provided. "
                  "Check your AWS Secret Access Key and signing method.",
                  403};
}

}  // namespace snapstore::localcloud
