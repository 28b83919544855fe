// The XML that S3 speaks.
// Source: ListObjectsV2, ListMultipartUploads, DeleteObjects, CreateMultipartUpload and
// CompleteMultipartUpload, Amazon S3 API Reference.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_S3_S3_XML_H_
#define SNAPSTORE_UPLOADER_S3_S3_XML_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "snapstore/status.h"
#include "uploader/s3/s3_error.h"

namespace snapstore {

struct S3ListPage {
  struct Object {
    std::string key;  // decoded
    uint64_t size = 0;
    int64_t modified_ns = 0;
  };
  std::vector<Object> objects;
  std::string next_token;  // empty: the last page
};

// Io for anything but a list asked for with encoding-type=url.
Result<S3ListPage> ParseListPage(ByteSpan xml);

// The id in the answer to CreateMultipartUpload.
Result<std::string> ParseUploadId(ByteSpan xml);
// The body for CompleteMultipartUpload; parts are numbered from 1.
std::string CompleteUploadXml(const std::vector<std::string>& etags);
// S3 may answer CompleteMultipartUpload with 200 and an error: OK when there is none in it.
Status ParseCompletion(ByteSpan xml);

struct S3UploadPage {
  struct Upload {
    std::string key;  // decoded
    std::string id;
    int64_t initiated_ns = 0;  // by the server's clock
  };
  std::vector<Upload> uploads;
  std::string next_key;  // where the next page begins; both empty: the last page
  std::string next_upload;
};

// Io for anything but a list of uploads asked for with encoding-type=url.
Result<S3UploadPage> ParseUploadPage(ByteSpan xml);

// The body for DeleteObjects. Not quiet: only what is named as deleted is.
std::string DeleteObjectsXml(const std::vector<std::string>& keys);

struct S3Deletion {
  std::vector<std::string> deleted;
  std::vector<std::pair<std::string, S3Error>> failed;
};
Result<S3Deletion> ParseDeletion(ByteSpan xml);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_S3_XML_H_
