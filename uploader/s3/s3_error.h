// What S3 says when it refuses, narrowed to what a caller can act on.
// Source: "Error responses" and "List of error codes", Amazon S3 API Reference.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_S3_S3_ERROR_H_
#define SNAPSTORE_UPLOADER_S3_S3_ERROR_H_

#include <string>
#include <string_view>

#include "snapstore/status.h"
#include "uploader/http/http.h"

namespace snapstore {

struct S3Error {
  int http_status = 0;
  std::string code = {};     // "NoSuchKey"; "HTTP 404" when the answer named none, as to HEAD
  std::string message = {};  // may be empty
  std::string region = {};   // where the bucket really is, if that was said
  std::string request_id = {};
};

// What to do about it.
enum class S3Remedy {
  kNone,            // a Status says it
  kRetry,           // the same again later
  kSlowDown,        // the same again later, and less at a time
  kNewCredentials,  // these have expired
  kCorrectClock,    // the request's time differs too much from the server's
  kOtherRegion,     // sign for, and ask, the region that the error names
};

// REQUIRES: the answer is not a success.
S3Error ParseS3Error(const HttpResponse& response);
S3Remedy RemedyFor(const S3Error& error);
// NotFound only for a key that certainly does not exist.
Status ToStatus(const S3Error& error);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_S3_ERROR_H_
