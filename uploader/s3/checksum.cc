#include "uploader/s3/checksum.h"

#include <array>

#include "base/base64.h"
#include "base/check.h"
#include "base/sha256.h"

namespace snapstore {
namespace {

constexpr size_t kSlices = 8;

// Reflected, with all bits set before and inverted after: as both are defined.
template <typename Word, Word kReflectedPolynomial>
class Crc {
 public:
  static Word Of(std::span<const ByteSpan> parts) {
    Word crc = ~Word{0};
    for (const ByteSpan part : parts) crc = Update(crc, part);
    return ~crc;
  }

 private:
  using Tables = std::array<std::array<Word, 256>, kSlices>;

  static constexpr Tables MakeTables() {
    Tables tables{};
    for (size_t byte = 0; byte < 256; ++byte) {
      Word crc = byte;
      for (int bit = 0; bit < 8; ++bit) {
        crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReflectedPolynomial : 0);
      }
      tables[0][byte] = crc;
    }
    for (size_t slice = 1; slice < kSlices; ++slice) {
      for (size_t byte = 0; byte < 256; ++byte) {
        const Word before = tables[slice - 1][byte];
        tables[slice][byte] = (before >> 8) ^ tables[0][before & 0xff];
      }
    }
    return tables;
  }
  static constexpr Tables kTables = MakeTables();

  // Eight bytes a step, a table each (Kounavis and Berry, 2005).
  static Word Update(Word crc, ByteSpan bytes) {
    for (; bytes.size() >= kSlices; bytes = bytes.subspan(kSlices)) {
      const uint64_t word = LoadLe<uint64_t>(bytes.data()) ^ crc;
      crc = 0;
      for (size_t n = 0; n < kSlices; ++n) {
        crc ^= kTables[kSlices - 1 - n][(word >> (8 * n)) & 0xff];
      }
    }
    for (const uint8_t byte : bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ byte) & 0xff];
    return crc;
  }
};

template <typename Word>
std::string BigEndianBase64(Word value) {
  std::array<uint8_t, sizeof(Word)> bytes;
  for (size_t n = 0; n < sizeof(Word); ++n) {
    bytes[n] = static_cast<uint8_t>(value >> (8 * (sizeof(Word) - 1 - n)));
  }
  return Base64Encode(bytes);
}

}  // namespace

uint32_t Crc32c(std::span<const ByteSpan> parts) { return Crc<uint32_t, 0x82f63b78>::Of(parts); }

uint64_t Crc64Nvme(std::span<const ByteSpan> parts) {
  return Crc<uint64_t, 0x9a6c9329ac4bc9b5>::Of(parts);
}

std::vector<HttpHeader> ChecksumHeaders(S3Checksum checksum, std::span<const ByteSpan> parts,
                                        std::string_view sha256) {
  // The first header is AWS SDKs' own; Ceph looks at the second only where it stands.
  constexpr const char* kAlgorithm = "x-amz-sdk-checksum-algorithm";
  switch (checksum) {
    case S3Checksum::kNone:
      return {};
    case S3Checksum::kCrc32c:
      return {{kAlgorithm, "CRC32C"}, {"x-amz-checksum-crc32c", BigEndianBase64(Crc32c(parts))}};
    case S3Checksum::kCrc64Nvme:
      return {{kAlgorithm, "CRC64NVME"},
              {"x-amz-checksum-crc64nvme", BigEndianBase64(Crc64Nvme(parts))}};
    case S3Checksum::kSha256: {
      std::array<uint8_t, 32> digest;
      SNAP_CHECK(HexDecode(sha256, digest).ok());
      return {{kAlgorithm, "SHA256"}, {"x-amz-checksum-sha256", Base64Encode(digest)}};
    }
    case S3Checksum::kAuto:
      break;
  }
  SNAP_CHECK(false);
  return {};
}

bool MatchesChecksums(const HttpResponse& response, ByteSpan bytes) {
  if (response.Header("x-amz-checksum-type") == "COMPOSITE") return true;
  for (const S3Checksum kind : {S3Checksum::kCrc32c, S3Checksum::kCrc64Nvme, S3Checksum::kSha256}) {
    const std::string sha256 =
        kind == S3Checksum::kSha256 ? Sha256::Of(bytes).ToHex() : std::string();
    const HttpHeader made = ChecksumHeaders(kind, {&bytes, 1}, sha256).back();
    const std::string_view sent = response.Header(made.name);
    const bool of_parts = sent.find('-') != std::string_view::npos;
    if (!sent.empty() && !of_parts && sent != made.value) return false;
  }
  return true;
}

Result<S3Checksum> ParseS3Checksum(std::string_view name) {
  if (name == "auto") return S3Checksum::kAuto;
  if (name == "none") return S3Checksum::kNone;
  if (name == "crc32c") return S3Checksum::kCrc32c;
  if (name == "crc64nvme") return S3Checksum::kCrc64Nvme;
  if (name == "sha256") return S3Checksum::kSha256;
  return Status::InvalidArgument("'" + std::string(name) +
                                 "' is no checksum: auto, none, crc32c, crc64nvme or sha256");
}

}  // namespace snapstore
