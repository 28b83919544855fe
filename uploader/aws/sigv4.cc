#include "uploader/aws/sigv4.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "base/check.h"
#include "base/clock.h"
#include "base/sha256.h"

namespace snapstore {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view kTerminator = "aws4_request";
constexpr size_t kDateLength = 8;  // of an AmzDate

std::array<uint8_t, 32> Hmac(ByteSpan key, std::string_view text) {
  std::array<uint8_t, 32> mac;
  unsigned length = 0;
  const ByteSpan bytes = AsBytes(text);
  SNAP_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(),
                  bytes.size(), mac.data(), &length) != nullptr);
  SNAP_CHECK(length == mac.size());
  return mac;
}

std::string LowerCase(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Without blanks at both ends, and with one for each run of them within.
std::string CollapseBlanks(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (!blank) {
      out.push_back(c);
    } else if (!out.empty() && out.back() != ' ') {
      out.push_back(' ');
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// RFC 3986, section 5.2.4; empty segments go too.
std::string NormalizePath(std::string_view path) {
  std::vector<std::string_view> segments;
  bool folder = true;  // the path ends in a slash
  for (size_t at = 0; at < path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, end - at);
    folder = end < path.size() || segment == "." || segment == "..";
    if (segment == "..") {
      if (!segments.empty()) segments.pop_back();
    } else if (!segment.empty() && segment != ".") {
      segments.push_back(segment);
    }
    at = end + 1;
  }
  std::string out;
  for (const std::string_view segment : segments) out.append("/").append(segment);
  if (out.empty() || folder) out.push_back('/');
  return out;
}

std::string CanonicalPath(const SigV4Request& request) {
  if (!request.normalize_path) return request.path.empty() ? "/" : request.path;
  return PercentEncode(NormalizePath(request.path), /*keep_slash=*/true);
}

// By name; values of one name in the order they were given.
std::map<std::string, std::string> CanonicalHeaders(const SigV4Request& request) {
  std::map<std::string, std::string> headers;
  for (const HttpHeader& header : request.headers) {
    const std::string value = CollapseBlanks(header.value);
    const auto [it, added] = headers.emplace(LowerCase(header.name), value);
    if (!added) it->second += "," + value;
  }
  return headers;
}

std::string SignedHeaders(const SigV4Request& request) {
  std::string names;
  for (const auto& [name, value] : CanonicalHeaders(request)) {
    if (!names.empty()) names.push_back(';');
    names += name;
  }
  return names;
}

std::string CredentialScope(const SigV4Scope& scope, std::string_view date) {
  return fmt::format("{}/{}/{}/{}", date.substr(0, kDateLength), scope.region, scope.service,
                     kTerminator);
}

std::string Signature(const SigV4Request& request, const AwsCredentials& credentials,
                      const SigV4Scope& scope, std::string_view date) {
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", kAlgorithm, date, CredentialScope(scope, date),
                  Sha256::Of(AsBytes(CanonicalRequest(request))).ToHex());
  std::array<uint8_t, 32> key =
      Hmac(AsBytes("AWS4" + credentials.secret_access_key), date.substr(0, kDateLength));
  for (const std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service), kTerminator}) {
    key = Hmac(key, part);
  }
  return HexEncode(Hmac(key, to_sign));
}

}  // namespace

std::string AmzDate(int64_t wall_ns) {
  const time_t seconds = ToTimespec(wall_ns).tv_sec;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string CanonicalRequest(const SigV4Request& request) {
  std::string headers;
  for (const auto& [name, value] : CanonicalHeaders(request)) {
    headers.append(name).append(":").append(value).append("\n");
  }
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, CanonicalPath(request),
                     EncodeQuery(request.query), headers, SignedHeaders(request),
                     request.payload_sha256);
}

std::vector<HttpHeader> SignInHeaders(const SigV4Request& request,
                                      const AwsCredentials& credentials, const SigV4Scope& scope,
                                      int64_t wall_ns) {
  const std::string date = AmzDate(wall_ns);
  std::vector<HttpHeader> added = {{"X-Amz-Date", date}};
  if (!credentials.session_token.empty()) {
    added.push_back({"X-Amz-Security-Token", credentials.session_token});
  }
  SigV4Request complete = request;
  complete.headers.insert(complete.headers.end(), added.begin(), added.end());
  added.push_back(
      {"Authorization",
       fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                   credentials.access_key_id, CredentialScope(scope, date), SignedHeaders(complete),
                   Signature(complete, credentials, scope, date))});
  return added;
}

std::string SignInQuery(const SigV4Request& request, const AwsCredentials& credentials,
                        const SigV4Scope& scope, int64_t wall_ns, std::chrono::seconds valid) {
  const std::string date = AmzDate(wall_ns);
  SigV4Request complete = request;
  QueryParameters* query = &complete.query;
  query->emplace_back("X-Amz-Algorithm", kAlgorithm);
  query->emplace_back("X-Amz-Credential",
                      credentials.access_key_id + "/" + CredentialScope(scope, date));
  query->emplace_back("X-Amz-Date", date);
  query->emplace_back("X-Amz-Expires", std::to_string(valid.count()));
  query->emplace_back("X-Amz-SignedHeaders", SignedHeaders(request));
  if (!credentials.session_token.empty()) {
    query->emplace_back("X-Amz-Security-Token", credentials.session_token);
  }
  const std::string signature = Signature(complete, credentials, scope, date);
  return EncodeQuery(complete.query) + "&X-Amz-Signature=" + signature;
}

}  // namespace snapstore
