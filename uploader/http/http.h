// What an HTTP request and its answer consist of (RFC 9110).
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_HTTP_HTTP_H_
#define SNAPSTORE_UPLOADER_HTTP_HTTP_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore {

// Status codes that somebody branches on (RFC 9110, section 15; 429: RFC 6585).
struct HttpStatus {
  static constexpr int kOk = 200;
  static constexpr int kPartialContent = 206;
  static constexpr int kMultipleChoices = 300;
  static constexpr int kMovedPermanently = 301;
  static constexpr int kTemporaryRedirect = 307;
  static constexpr int kBadRequest = 400;
  static constexpr int kUnauthorized = 401;
  static constexpr int kForbidden = 403;
  static constexpr int kNotFound = 404;
  static constexpr int kMethodNotAllowed = 405;
  static constexpr int kRequestTimeout = 408;
  static constexpr int kConflict = 409;
  static constexpr int kPreconditionFailed = 412;
  static constexpr int kRangeNotSatisfiable = 416;
  static constexpr int kTooManyRequests = 429;
  static constexpr int kInternalServerError = 500;
  static constexpr int kNotImplemented = 501;
  static constexpr int kServiceUnavailable = 503;
};

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};
  std::vector<HttpHeader> headers = {};
  // Sent one after the other. PUT and POST only; the bytes must outlive the call.
  std::span<const ByteSpan> body = {};
  // Where the body of a 2xx answer goes, from the front; a longer one is an error. With none, the
  // body is returned if it has at most `body_max` bytes.
  MutableByteSpan into = {};
  size_t body_max = 1 << 20;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers = {};  // names in lower case
  Bytes body = {};                       // of an answer other than 2xx: at most its first 64 KiB
  size_t received = 0;                   // bytes put into HttpRequest::into

  bool Successful() const {
    return status >= HttpStatus::kOk && status < HttpStatus::kMultipleChoices;
  }
  // The value of the first header of this name, given in lower case; empty if there is none.
  std::string_view Header(std::string_view name) const {
    for (const HttpHeader& header : headers) {
      if (header.name == name) return header.value;
    }
    return {};
  }
};

// "Sun, 06 Nov 1994 08:49:37 GMT" and the older forms of RFC 9110, section 5.6.7, as ns since 1970.
// Io for anything else.
Result<int64_t> ParseHttpDate(std::string_view text);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_HTTP_HTTP_H_
