#include "uploader/aws/sigv4.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "tests/uploader/aws/sigv4_vectors.h"

namespace snapstore {
namespace {

using test::SigV4PresignedVector;
using test::SigV4Vector;

constexpr int64_t kWallNanos = test::kSigV4UnixSeconds * kNanosPerSecond;

// "a=1&b" as the pairs that it encodes.
QueryParameters ParseQuery(std::string_view text) {
  QueryParameters query;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
    query.emplace_back(*PercentDecode(pair.substr(0, equals)), *PercentDecode(value));
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
  }
  return query;
}

std::vector<HttpHeader> Headers(const test::SigV4Headers& given) {
  std::vector<HttpHeader> headers;
  for (const auto& [name, value] : given) headers.push_back({name, value});
  return headers;
}

AwsCredentials Credentials(const char* token) {
  return {.access_key_id = test::kSigV4AccessKeyId,
          .secret_access_key = test::kSigV4SecretAccessKey,
          .session_token = token};
}

// The suite gives paths that are not encoded, and encodes them once.
std::string PathFor(const char* path, bool normalize) {
  return normalize ? std::string(path) : PercentEncode(path, /*keep_slash=*/true);
}

std::string HeaderIn(const std::vector<HttpHeader>& headers, const std::string& name) {
  for (const HttpHeader& header : headers) {
    if (header.name == name) return header.value;
  }
  return "";
}

TEST(SigV4, SignsInHeadersAsPublished) {
  size_t signatures = 0;
  for (const SigV4Vector& vector : test::SigV4HeaderVectors()) {
    SCOPED_TRACE(vector.name);
    SigV4Request request{.method = vector.method,
                         .path = PathFor(vector.path, vector.normalize),
                         .normalize_path = vector.normalize,
                         .query = ParseQuery(vector.query),
                         .headers = Headers(vector.headers),
                         .payload_sha256 = Sha256::Of(AsBytes(vector.body)).ToHex()};
    if (vector.sign_body) {
      request.headers.push_back({"x-amz-content-sha256", request.payload_sha256});
    }
    const char* const token = vector.omit_session_token ? "" : vector.session_token;
    EXPECT_NE(CanonicalRequest(request).find(std::string("\n") + vector.canonical_path + "\n"),
              std::string::npos);
    const std::string made =
        HeaderIn(SignInHeaders(request, Credentials(token),
                               {test::kSigV4Region, test::kSigV4Service}, kWallNanos),
                 "Authorization");
    ++signatures;
    EXPECT_EQ(made, std::string("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/"
                                "service/aws4_request, SignedHeaders=") +
                        vector.signed_headers + ", Signature=" + vector.signature);
  }
  EXPECT_EQ(signatures, test::SigV4HeaderVectors().size());
}

TEST(SigV4, SignsInQueriesAsPublished) {
  size_t signatures = 0;
  for (const SigV4PresignedVector& vector : test::SigV4PresignedVectors()) {
    SCOPED_TRACE(vector.name);
    const SigV4Request request{.method = vector.method,
                               .path = PathFor(vector.path, vector.normalize),
                               .normalize_path = vector.normalize,
                               .query = ParseQuery(vector.query),
                               .headers = Headers(vector.headers),
                               .payload_sha256 = Sha256::Of({}).ToHex()};
    const std::string query = SignInQuery(request, Credentials(vector.session_token),
                                          {test::kSigV4Region, test::kSigV4Service}, kWallNanos,
                                          std::chrono::seconds(vector.expires_seconds));
    EXPECT_TRUE(query.ends_with(std::string("&X-Amz-Signature=") + vector.signature)) << query;
    ++signatures;
  }
  EXPECT_EQ(signatures, test::SigV4PresignedVectors().size());
}

// The examples of "Authenticating Requests: Using the Authorization Header", Amazon S3 API
// Reference.
TEST(SigV4, SignsForS3AsPublished) {
  const AwsCredentials credentials{.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                                   .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
  const int64_t time = *ParseTime("2013-05-24T00:00:00Z");
  const SigV4Scope scope{"us-east-1", "s3"};
  const auto signature = [&](const SigV4Request& request) {
    const std::string header =
        HeaderIn(SignInHeaders(request, credentials, scope, time), "Authorization");
    return header.substr(header.find("Signature=") + 10);
  };
  const std::string empty = Sha256::Of({}).ToHex();
  const HttpHeader host{"Host", "examplebucket.s3.amazonaws.com"};
  EXPECT_EQ(signature({.method = "GET",
                       .path = "/test.txt",
                       .normalize_path = false,
                       .headers = {host, {"Range", "bytes=0-9"}, {"x-amz-content-sha256", empty}},
                       .payload_sha256 = empty}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  const std::string body = Sha256::Of(AsBytes("Welcome to Amazon S3.")).ToHex();
  EXPECT_EQ(signature({.method = "PUT",
                       .path = "/test%24file.text",
                       .normalize_path = false,
                       .headers = {host,
                                   {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                                   {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
                                   {"x-amz-content-sha256", body}},
                       .payload_sha256 = body}),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  EXPECT_EQ(signature({.method = "GET",
                       .path = "/",
                       .query = {{"lifecycle", ""}},
                       .headers = {host, {"x-amz-content-sha256", empty}},
                       .payload_sha256 = empty}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(signature({.method = "GET",
                       .path = "/",
                       .query = {{"max-keys", "2"}, {"prefix", "J"}},
                       .headers = {host, {"x-amz-content-sha256", empty}},
                       .payload_sha256 = empty}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
  const std::string query = SignInQuery({.method = "GET",
                                         .path = "/test.txt",
                                         .normalize_path = false,
                                         .headers = {host},
                                         .payload_sha256 = std::string(kUnsignedPayload)},
                                        credentials, scope, time, std::chrono::seconds(86400));
  EXPECT_TRUE(query.ends_with("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
}

}  // namespace
}  // namespace snapstore
