// AWS Signature Version 4, in headers and in a query (presigned).
// Source: "Create a signed AWS API request", IAM User Guide; for S3's own rules "Authenticating
// Requests (AWS Signature Version 4)", Amazon S3 API Reference.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_AWS_SIGV4_H_
#define SNAPSTORE_UPLOADER_AWS_SIGV4_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "uploader/http/http.h"
#include "uploader/http/url.h"

namespace snapstore {

struct AwsCredentials {
  std::string access_key_id = {};
  std::string secret_access_key = {};
  std::string session_token = {};  // empty: long-lived keys
  int64_t expires_ns = 0;          // wall clock; 0: never
};

// Where a signature is valid.
struct SigV4Scope {
  std::string region;   // "eu-west-1"
  std::string service;  // "s3", "ec2", "sts"
};

// In place of a payload's SHA-256: S3 only.
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

struct SigV4Request {
  std::string method = "GET";
  // Absolute, percent-encoded as it goes on the wire.
  std::string path = "/";
  // Take dot segments and empty segments out and encode the rest once more, as all services want it
  // but S3, whose paths are signed as they stand.
  bool normalize_path = true;
  QueryParameters query = {};  // not encoded
  // Those to be signed, "host" among them.
  std::vector<HttpHeader> headers = {};
  std::string payload_sha256 = {};  // 64 hex digits, or kUnsignedPayload
};

// The headers to add to the request: Authorization, X-Amz-Date and, with a session,
// X-Amz-Security-Token; all but the first are signed. `wall_ns` is the time it is signed at.
std::vector<HttpHeader> SignInHeaders(const SigV4Request& request,
                                      const AwsCredentials& credentials, const SigV4Scope& scope,
                                      int64_t wall_ns);

// The query of a request that anybody may send within `valid` from now.
std::string SignInQuery(const SigV4Request& request, const AwsCredentials& credentials,
                        const SigV4Scope& scope, int64_t wall_ns, std::chrono::seconds valid);

// The first step of signing, for tests and for comparing with what a server says it expected.
std::string CanonicalRequest(const SigV4Request& request);

// "20150830T123600Z".
std::string AmzDate(int64_t wall_ns);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_SIGV4_H_
