// The checksums that S3 keeps with an object, in the form of its headers.
// Source: "Checking object integrity in Amazon S3", Amazon S3 User Guide; CRC-32C: RFC 3720,
// appendix B.4; CRC-64/NVME: NVM Express NVM Command Set Specification, section 5.2.1.3.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_UPLOADER_S3_CHECKSUM_H_
#define SNAPSTORE_UPLOADER_S3_CHECKSUM_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "snapstore/status.h"
#include "uploader/http/http.h"
#include "uploader/s3/s3_options.h"

namespace snapstore {

uint32_t Crc32c(std::span<const ByteSpan> parts);
uint64_t Crc64Nvme(std::span<const ByteSpan> parts);

// The headers that send a checksum of `parts`, none for kNone. `sha256` is their SHA-256 in hex.
// REQUIRES: not kAuto.
std::vector<HttpHeader> ChecksumHeaders(S3Checksum checksum, std::span<const ByteSpan> parts,
                                        std::string_view sha256);

// Whether `bytes`, a whole object, bear out the checksums that came with them: true when there are
// none. Those of an object made of parts are of the parts, and are passed over.
bool MatchesChecksums(const HttpResponse& response, ByteSpan bytes);

// "auto", "none", "crc32c", "crc64nvme" or "sha256".
Result<S3Checksum> ParseS3Checksum(std::string_view name);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_CHECKSUM_H_
