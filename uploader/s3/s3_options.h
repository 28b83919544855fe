// S3Options: where a bucket is and how to talk to it.
//
// Thread safety: values only.
#ifndef SNAPSTORE_UPLOADER_S3_S3_OPTIONS_H_
#define SNAPSTORE_UPLOADER_S3_S3_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "uploader/s3/s3_prices.h"

namespace snapstore {

enum class S3Addressing {
  kAuto,     // virtual host for AWS, path for any other endpoint and for names with dots
  kPath,     // https://endpoint/bucket/key
  kVirtual,  // https://bucket.endpoint/key
};

// Sent with each object, for the server to check and to keep. The signature covers the SHA-256 of
// the bytes in any case, which every server checks.
enum class S3Checksum {
  kAuto,  // SHA-256 to AWS, none to other endpoints: some refuse what they do not know
  kNone,
  kCrc32c,
  kCrc64Nvme,
  kSha256,
};

struct S3Options {
  std::string bucket = {};
  std::string prefix = {};    // "" or "a/b/": before every key
  std::string region = {};    // empty: us-east-1, corrected by what the server says
  std::string endpoint = {};  // "https://host[:port]"; empty: AWS's for the region
  std::string ca_file = {};   // PEM; empty: the system's
  S3Addressing addressing = S3Addressing::kAuto;
  S3Checksum checksum = S3Checksum::kAuto;
  // Of objects below `data_prefix`; empty: STANDARD, which all others have in any case: they are
  // small and often read.
  std::string storage_class = {};
  std::string data_prefix = "data/";
  std::string encryption = {};  // x-amz-server-side-encryption: "AES256", "aws:kms"; empty: none
  std::string kms_key_id = {};  // with aws:kms; empty: the account's default
  bool requester_pays = false;
  unsigned connections = 16;                          // at once, at most
  std::chrono::milliseconds retry_deadline{300'000};  // of one operation
  // As long as no server has ever answered: an address that is wrong is no passing trouble.
  std::chrono::milliseconds contact_deadline{30'000};
  uint64_t upload_bytes_per_second = 0;  // 0: no limit
  uint64_t download_bytes_per_second = 0;
  // An object of more bytes is uploaded in parts of `part_bytes`. High on purpose: a role that may
  // put objects need not be allowed to abort an upload that failed halfway.
  uint64_t multipart_bytes = 1ull << 30;
  uint64_t part_bytes = 64ull << 20;
  std::optional<S3Prices> prices = std::nullopt;  // for the estimate; empty: list prices
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_S3_OPTIONS_H_
