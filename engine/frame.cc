#include "engine/frame.h"

#include <fmt/format.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/format.h"

namespace snapstore {
namespace {

constexpr uint32_t kFrameMagic = 0x4d524653;  // "SFRM"

// Stored: do not renumber.
enum class Codec : uint8_t { kRaw = 0, kZstd = 1 };

// Header layout: codec u8, flags u8, chunk count u16, plain length u32, stored length u32,
// magic u32, checksum u64.
constexpr size_t kStoredLengthOffset = 8;
constexpr size_t kChecksumOffset = 16;

uint64_t FrameChecksum(ByteSpan header, ByteSpan payload) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(),
                              XXH3_64bits(header.data(), kChecksumOffset));
}

// Whether zstd is worth its time: its first level must save 3 % of samples from all over the frame.
bool LooksCompressible(ZSTD_CCtx* context, ByteSpan plain) {
  constexpr size_t kSamples = 8;
  constexpr size_t kSampleBytes = 2 << 10;
  constexpr size_t kAllBytes = kSamples * kSampleBytes;
  if (plain.size() < 4 * kAllBytes) return true;
  uint8_t samples[kAllBytes];
  for (size_t i = 0; i < kSamples; ++i) {
    const size_t at = (plain.size() - kSampleBytes) / (kSamples - 1) * i;
    std::memcpy(samples + i * kSampleBytes, plain.data() + at, kSampleBytes);
  }
  uint8_t scratch[kAllBytes];
  constexpr size_t kLimit = kAllBytes - kAllBytes / 32;
  const size_t got = ZSTD_compressCCtx(context, scratch, kLimit, samples, kAllBytes, /*level=*/1);
  return ZSTD_isError(got) == 0;
}

}  // namespace

struct FrameEncoder::Context {
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  Bytes out;  // only ever grows: a vector that is made longer is filled with zeros first
  ~Context() { ZSTD_freeCCtx(zstd); }
};

FrameEncoder::FrameEncoder() : context_(std::make_unique<Context>()) {
  SNAP_CHECK(context_->zstd != nullptr);
}

FrameEncoder::~FrameEncoder() = default;

Result<ByteSpan> FrameEncoder::Encode(PlainFrame* frame, int level) {
  SNAP_CHECK(!frame->chunks.empty() && frame->chunks.size() <= kFrameChunksMax);
  ByteWriter lengths(&frame->data);
  for (const ChunkId& chunk : frame->chunks) lengths.U32(chunk.length);
  const ByteSpan plain(frame->data);
  SNAP_CHECK(plain.size() <= kFramePlainMax);

  const size_t bound = ZSTD_compressBound(plain.size());
  Bytes& out = context_->out;
  if (out.size() < kFrameHeaderBytes + bound) out.resize(kFrameHeaderBytes + bound);
  uint8_t* const header = out.data();
  uint8_t* const payload = header + kFrameHeaderBytes;

  Codec codec = Codec::kRaw;
  size_t stored = plain.size();
  if (LooksCompressible(context_->zstd, plain)) {
    const size_t packed =
        ZSTD_compressCCtx(context_->zstd, payload, bound, plain.data(), plain.size(), level);
    if (ZSTD_isError(packed) != 0) {
      return Status::Internal(fmt::format("zstd: {}", ZSTD_getErrorName(packed)));
    }
    if (packed < plain.size()) {
      codec = Codec::kZstd;
      stored = packed;
    }
  }
  if (codec == Codec::kRaw) std::memcpy(payload, plain.data(), plain.size());

  header[0] = static_cast<uint8_t>(codec);
  header[1] = 0;
  StoreLe<uint16_t>(header + 2, static_cast<uint16_t>(frame->chunks.size()));
  StoreLe<uint32_t>(header + 4, static_cast<uint32_t>(plain.size()));
  StoreLe<uint32_t>(header + kStoredLengthOffset, static_cast<uint32_t>(stored));
  StoreLe<uint32_t>(header + 12, kFrameMagic);
  StoreLe<uint64_t>(header + kChecksumOffset,
                    FrameChecksum({header, kFrameHeaderBytes}, {payload, stored}));
  return ByteSpan(out).first(kFrameHeaderBytes + stored);
}

uint64_t StoredFrameLength(ByteSpan header) {
  return uint64_t{LoadLe<uint32_t>(header.data() + kStoredLengthOffset)} + kFrameHeaderBytes;
}

struct FrameDecoder::Context {
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
  ~Context() { ZSTD_freeDCtx(zstd); }
};

FrameDecoder::FrameDecoder() : context_(std::make_unique<Context>()) {
  SNAP_CHECK(context_->zstd != nullptr);
}

FrameDecoder::~FrameDecoder() = default;

Status FrameDecoder::Decode(ByteSpan stored, DecodedFrame* out) {
  if (stored.size() < kFrameHeaderBytes) return Status::Corruption("frame is cut short");
  const uint8_t* const header = stored.data();
  const ByteSpan payload = stored.subspan(kFrameHeaderBytes);
  const auto chunk_count = LoadLe<uint16_t>(header + 2);
  const auto plain_length = LoadLe<uint32_t>(header + 4);
  const auto stored_length = LoadLe<uint32_t>(header + kStoredLengthOffset);
  if (LoadLe<uint32_t>(header + 12) != kFrameMagic || stored_length != payload.size()) {
    return Status::Corruption("not a frame");
  }
  if (LoadLe<uint64_t>(header + kChecksumOffset) != FrameChecksum(stored, payload)) {
    return Status::Corruption("frame checksum does not match");
  }
  if (header[1] != 0) {
    return Status::Unsupported(
        fmt::format("frame flags {} are newer than this program", header[1]));
  }
  const size_t table_bytes = size_t{chunk_count} * sizeof(uint32_t);
  if (chunk_count == 0 || chunk_count > kFrameChunksMax || plain_length > kFramePlainMax ||
      plain_length < table_bytes) {
    return Status::Corruption("frame header is out of bounds");
  }
  out->data.resize(plain_length);
  switch (static_cast<Codec>(header[0])) {
    case Codec::kRaw:
      if (payload.size() != plain_length) return Status::Corruption("raw frame of wrong length");
      std::memcpy(out->data.data(), payload.data(), payload.size());
      break;
    case Codec::kZstd: {
      const size_t got = ZSTD_decompressDCtx(context_->zstd, out->data.data(), out->data.size(),
                                             payload.data(), payload.size());
      if (ZSTD_isError(got) != 0 || got != plain_length) {
        return Status::Corruption("frame does not decompress");
      }
      break;
    }
    default:
      return Status::Unsupported(
          fmt::format("frame codec {} is newer than this program", header[0]));
  }
  const size_t data_bytes = plain_length - table_bytes;
  ByteReader table(ByteSpan(out->data).subspan(data_bytes));
  out->offsets.clear();
  out->offsets.reserve(size_t{chunk_count} + 1);
  uint64_t offset = 0;
  for (uint16_t i = 0; i < chunk_count; ++i) {
    out->offsets.push_back(static_cast<uint32_t>(offset));
    offset += table.U32();
    if (offset > data_bytes) return Status::Corruption("chunk lengths exceed the frame");
  }
  if (offset != data_bytes) return Status::Corruption("chunk lengths do not fill the frame");
  out->offsets.push_back(static_cast<uint32_t>(offset));
  out->data.resize(data_bytes);
  return {};
}

}  // namespace snapstore
