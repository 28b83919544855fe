// AWS Signature Version 4 test suite as published in awslabs/aws-c-auth (Apache-2.0),
// tests/aws-signing-test-suite/v4: one set of facts a case.
#ifndef SNAPSTORE_TESTS_UPLOADER_SIGV4_VECTORS_H_
#define SNAPSTORE_TESTS_UPLOADER_SIGV4_VECTORS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace snapstore::test {

// The same in every case's context.json.
inline constexpr char kSigV4AccessKeyId[] = "AKIDEXAMPLE";
inline constexpr char kSigV4SecretAccessKey[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
inline constexpr char kSigV4Region[] = "us-east-1";
inline constexpr char kSigV4Service[] = "service";
inline constexpr char kSigV4Timestamp[] = "2015-08-30T12:36:00Z";

// kSigV4Timestamp as the signed requests carry it, and in seconds since the epoch.
inline constexpr char kSigV4AmzDate[] = "20150830T123600Z";
inline constexpr std::int64_t kSigV4UnixSeconds = 1440938160;

// get-vanilla-with-session-token.
inline constexpr char kSigV4SessionToken[] =
    "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

// post-sts-header-before and post-sts-header-after.
inline constexpr char kSigV4StsToken[] =
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSP"
    "fIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT"
    "7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlz"
    "m8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

using SigV4Headers = std::vector<std::pair<std::string, std::string>>;

// A request whose signature goes in the Authorization header.
struct SigV4Vector {
  const char* name;  // the case's name in the suite
  const char* method;
  const char* path;   // as written in the request line, without the query
  const char* query;  // as written in the request line, "" if none
  // Of request.txt, in order, with duplicates. No case has X-Amz-Date, X-Amz-Security-Token or
  // x-amz-content-sha256 here: the signer adds them.
  SigV4Headers headers;
  const char* body;
  bool normalize;             // the path's "." and ".." and empty segments are removed
  bool sign_body;             // x-amz-content-sha256 is added and signed
  const char* session_token;  // "" if none
  bool omit_session_token;    // the token is added after signing, so not signed
  const char* canonical_path;
  const char* canonical_query;
  const char* signed_headers;
  const char* signature;
};

// A request whose signature goes in the query. Bodies are empty.
struct SigV4PresignedVector {
  const char* name;
  const char* method;
  const char* path;   // as written in the request line, without the query
  const char* query;  // as written in the request line, "" if none
  SigV4Headers headers;
  bool normalize;
  const char* session_token;  // "" if none
  int expires_seconds;
  const char* signature;
  const char* signed_query;  // of the signed request, in the suite's order (which is not sorted)
};

// A table, however long. NOLINTNEXTLINE(readability-function-size)
inline const std::vector<SigV4Vector>& SigV4HeaderVectors() {
  static const SigV4Headers host = {{"Host", "example.amazonaws.com"}};
  static const std::vector<SigV4Vector> vectors = {
      {"get-vanilla", "GET", "/", "", host, "", true, false, "", false, "/", "", "host;x-amz-date",
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-vanilla-query", "GET", "/", "", host, "", true, false, "", false, "/", "",
       "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-vanilla-empty-query-key", "GET", "/", "Param1=value1", host, "", true, false, "", false,
       "/", "Param1=value1", "host;x-amz-date",
       "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
      {"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", host, "",
       true, false, "", false, "/", "Param1=value1&Param2=value2", "host;x-amz-date",
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"get-vanilla-query-order-encoded", "GET", "/",
       "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", host, "", true, false, "", false, "/",
       "%E1%88%B4=Value1&Param=Value2&Param-3=Value3", "host;x-amz-date",
       "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
      {"get-vanilla-query-unreserved", "GET", "/",
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
       host, "", true, false, "", false, "/",
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
       "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
      {"get-vanilla-utf8-query", "GET", "/", "\xE1\x88\xB4=bar", host, "", true, false, "", false,
       "/", "%E1%88%B4=bar", "host;x-amz-date",
       "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
      {"get-vanilla-with-session-token", "GET", "/", "", host, "", true, false, kSigV4SessionToken,
       false, "/", "", "host;x-amz-date;x-amz-security-token",
       "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},

      {"get-header-key-duplicate",
       "GET",
       "/",
       "",
       {{"Host", "example.amazonaws.com"},
        {"My-Header1", "value2"},
        {"My-Header1", "value2"},
        {"My-Header1", "value1"}},
       "",
       true,
       false,
       "",
       false,
       "/",
       "",
       "host;my-header1;x-amz-date",
       "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
      // request.txt has the value on three lines: "value1", "  value2", "     value3".
      {"get-header-value-multiline",
       "GET",
       "/",
       "",
       {{"Host", "example.amazonaws.com"}, {"My-Header1", "value1 value2 value3"}},
       "",
       true,
       false,
       "",
       false,
       "/",
       "",
       "host;my-header1;x-amz-date",
       "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
      {"get-header-value-order",
       "GET",
       "/",
       "",
       {{"Host", "example.amazonaws.com"},
        {"My-Header1", "value4"},
        {"My-Header1", "value1"},
        {"My-Header1", "value3"},
        {"My-Header1", "value2"}},
       "",
       true,
       false,
       "",
       false,
       "/",
       "",
       "host;my-header1;x-amz-date",
       "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
      {"get-header-value-trim",
       "GET",
       "/",
       "",
       {{"Host", "example.amazonaws.com"},
        {"My-Header1", " value1"},
        {"My-Header2", " \"a   b   c\""}},
       "",
       true,
       false,
       "",
       false,
       "/",
       "",
       "host;my-header1;my-header2;x-amz-date",
       "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},

      {"get-unreserved", "GET",
       "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", host, "", true,
       false, "", false, "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "",
       "host;x-amz-date", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
      {"get-utf8", "GET", "/\xE1\x88\xB4", "", host, "", true, false, "", false, "/%E1%88%B4", "",
       "host;x-amz-date", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
      {"get-space-normalized", "GET", "/example space/", "", host, "", true, false, "", false,
       "/example%20space/", "", "host;x-amz-date",
       "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
      {"get-space-unnormalized", "GET", "/example space/", "", host, "", false, false, "", false,
       "/example%20space/", "", "host;x-amz-date",
       "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},

      {"get-relative-normalized", "GET", "/example/..", "", host, "", true, false, "", false, "/",
       "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-relative-unnormalized", "GET", "/example/..", "", host, "", false, false, "", false,
       "/example/..", "", "host;x-amz-date",
       "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282"},
      {"get-relative-relative-normalized", "GET", "/example1/example2/../..", "", host, "", true,
       false, "", false, "/", "", "host;x-amz-date",
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-relative-relative-unnormalized", "GET", "/example1/example2/../..", "", host, "", false,
       false, "", false, "/example1/example2/../..", "", "host;x-amz-date",
       "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b"},
      {"get-slash-normalized", "GET", "//", "", host, "", true, false, "", false, "/", "",
       "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-slash-unnormalized", "GET", "//", "", host, "", false, false, "", false, "//", "",
       "host;x-amz-date", "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e"},
      {"get-slash-dot-slash-normalized", "GET", "/./", "", host, "", true, false, "", false, "/",
       "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-slash-dot-slash-unnormalized", "GET", "/./", "", host, "", false, false, "", false,
       "/./", "", "host;x-amz-date",
       "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"},
      {"get-slash-pointless-dot-normalized", "GET", "/./example", "", host, "", true, false, "",
       false, "/example", "", "host;x-amz-date",
       "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
      {"get-slash-pointless-dot-unnormalized", "GET", "/./example", "", host, "", false, false, "",
       false, "/./example", "", "host;x-amz-date",
       "beb03f223f7deae4146464f06e29eebbee9c8afbe15c290cf07aa8b119e14cff"},
      {"get-slashes-normalized", "GET", "//example//", "", host, "", true, false, "", false,
       "/example/", "", "host;x-amz-date",
       "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
      {"get-slashes-unnormalized", "GET", "//example//", "", host, "", false, false, "", false,
       "//example//", "", "host;x-amz-date",
       "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"},

      {"post-vanilla", "POST", "/", "", host, "", true, false, "", false, "/", "",
       "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"post-vanilla-query", "POST", "/", "Param1=value1", host, "", true, false, "", false, "/",
       "Param1=value1", "host;x-amz-date",
       "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
      {"post-vanilla-empty-query-value", "POST", "/", "Param1=value1", host, "", true, false, "",
       false, "/", "Param1=value1", "host;x-amz-date",
       "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
      {"post-header-key-case", "POST", "/", "", host, "", true, false, "", false, "/", "",
       "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"post-header-key-sort",
       "POST",
       "/",
       "",
       {{"Host", "example.amazonaws.com"}, {"My-Header1", "value1"}},
       "",
       true,
       false,
       "",
       false,
       "/",
       "",
       "host;my-header1;x-amz-date",
       "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
      {"post-header-value-case",
       "POST",
       "/",
       "",
       {{"Host", "example.amazonaws.com"}, {"My-Header1", "VALUE1"}},
       "",
       true,
       false,
       "",
       false,
       "/",
       "",
       "host;my-header1;x-amz-date",
       "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
      {"post-sts-header-before", "POST", "/", "", host, "", true, false, kSigV4StsToken, false, "/",
       "", "host;x-amz-date;x-amz-security-token",
       "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
      {"post-sts-header-after", "POST", "/", "", host, "", true, false, kSigV4StsToken, true, "/",
       "", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"post-x-www-form-urlencoded",
       "POST",
       "/",
       "",
       {{"Content-Type", "application/x-www-form-urlencoded"},
        {"Host", "example.amazonaws.com"},
        {"Content-Length", "13"}},
       "Param1=value1",
       true,
       true,
       "",
       false,
       "/",
       "",
       "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
       "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
      {"post-x-www-form-urlencoded-parameters",
       "POST",
       "/",
       "",
       {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
        {"Host", "example.amazonaws.com"},
        {"Content-Length", "13"}},
       "Param1=value1",
       true,
       true,
       "",
       false,
       "/",
       "",
       "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
       "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"},
  };
  return vectors;
}

// NOLINTNEXTLINE(readability-function-size)
inline const std::vector<SigV4PresignedVector>& SigV4PresignedVectors() {
  static const SigV4Headers host = {{"Host", "example.amazonaws.com"}};
  static const std::vector<SigV4PresignedVector> vectors = {
      {"get-vanilla", "GET", "/", "", host, true, "", 3600,
       "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
      // The suite's signed request has the token twice: before the signature and again after it.
      {"get-vanilla-with-session-token", "GET", "/", "", host, true, kSigV4SessionToken, 3600,
       "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Security-Token=6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
       "&X-Amz-Signature=7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"
       "&X-Amz-Security-Token=6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"},
      {"get-vanilla-empty-query-key", "GET", "/", "Param1=value1", host, true, "", 3600,
       "49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de",
       "Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de"},
      {"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", host, true,
       "", 3600, "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
       "Param2=value2&Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5"},
      {"get-vanilla-query-order-encoded", "GET", "/",
       "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", host, true, "", 3600,
       "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787",
       "Param-3=Value3&Param=Value2&%E1%88%B4=Value1&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787"},
      {"get-vanilla-query-unreserved", "GET", "/",
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
       host, true, "", 3600, "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf",
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
       "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
       "&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf"},
      // The suite's signed request keeps the parameter's three raw bytes.
      {"get-vanilla-utf8-query", "GET", "/", "\xE1\x88\xB4=bar", host, true, "", 3600,
       "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600",
       "\xE1\x88\xB4=bar&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600"},

      {"get-header-key-duplicate",
       "GET",
       "/",
       "",
       {{"Host", "example.amazonaws.com"},
        {"My-Header1", "value2"},
        {"My-Header1", "value2"},
        {"My-Header1", "value1"}},
       true,
       "",
       3600,
       "3349ee0b81b4b589da0ff28a395c3591e04de515651dd74f298fa992d1507a97",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-Amz-Expires=3600"
       "&X-Amz-Signature=3349ee0b81b4b589da0ff28a395c3591e04de515651dd74f298fa992d1507a97"},
      {"get-header-value-trim",
       "GET",
       "/",
       "",
       {{"Host", "example.amazonaws.com"},
        {"My-Header1", " value1"},
        {"My-Header2", " \"a   b   c\""}},
       true,
       "",
       3600,
       "e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1%3Bmy-header2"
       "&X-Amz-Expires=3600"
       "&X-Amz-Signature=e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4"},

      {"get-unreserved", "GET",
       "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", host, true, "",
       3600, "95968482db1b9e0fadef6efc1bd24689f77c77d9ef56919c96a28cc92e0d6005",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=95968482db1b9e0fadef6efc1bd24689f77c77d9ef56919c96a28cc92e0d6005"},
      {"get-utf8", "GET", "/\xE1\x88\xB4", "", host, true, "", 3600,
       "10eae3f14a260bd3911cc6d008d3c576d143b05b62f09782a7a4b37f52178e44",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=10eae3f14a260bd3911cc6d008d3c576d143b05b62f09782a7a4b37f52178e44"},
      {"get-space-normalized", "GET", "/example space/", "", host, true, "", 3600,
       "7a1f416954786484c9824d93c1f26ef64acb9b1b6c9154d08c9f07d0e394abf6",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=7a1f416954786484c9824d93c1f26ef64acb9b1b6c9154d08c9f07d0e394abf6"},
      {"get-relative-normalized", "GET", "/example/..", "", host, true, "", 3600,
       "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
      {"get-relative-unnormalized", "GET", "/example/..", "", host, false, "", 3600,
       "cbcb213b928a077e43275df47b500f1dfaa864ab3f5a18f6b95f4ff0938167ee",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=cbcb213b928a077e43275df47b500f1dfaa864ab3f5a18f6b95f4ff0938167ee"},
      {"get-slashes-normalized", "GET", "//example//", "", host, true, "", 3600,
       "c1834e8fb0307243711f0f907f6ab7311ed300d87f13792d7ee4da89ab93e082",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=c1834e8fb0307243711f0f907f6ab7311ed300d87f13792d7ee4da89ab93e082"},
      {"get-slashes-unnormalized", "GET", "//example//", "", host, false, "", 3600,
       "822a5a9ba28072c5ab2bb4a6307d0c88276d40e49fec6b724c03fb4d4ba60fc2",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=822a5a9ba28072c5ab2bb4a6307d0c88276d40e49fec6b724c03fb4d4ba60fc2"},

      {"post-vanilla", "POST", "/", "", host, true, "", 3600,
       "2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b",
       "X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b"},
      {"post-vanilla-empty-query-value", "POST", "/", "Param1=value1", host, true, "", 3600,
       "a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682",
       "Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256"
       "&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
       "&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
       "&X-Amz-Signature=a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682"},
  };
  return vectors;
}

}  // namespace snapstore::test

#endif  // SNAPSTORE_TESTS_UPLOADER_SIGV4_VECTORS_H_
