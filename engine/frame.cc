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
constexpr size_t kFlagsOffset = 1;
constexpr size_t kStoredLengthOffset = 8;
constexpr size_t kChecksumOffset = 16;

uint64_t FrameChecksum(ByteSpan header, ByteSpan payload) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(),
                              XXH3_64bits(header.data(), kChecksumOffset));
}

SealedKind KindOfFrame(PackKind kind) {
  return kind == PackKind::kData ? SealedKind::kDataFrame : SealedKind::kMetaFrame;
}

// Everything that can be said of a stored frame without a key.
Status CheckFrameHeader(const Sealer& sealer, ByteSpan stored) {
  if (stored.size() < kFrameHeaderBytes) return Status::Corruption("frame is cut short");
  const uint8_t* const header = stored.data();
  const ByteSpan payload = stored.subspan(kFrameHeaderBytes);
  const auto chunk_count = LoadLe<uint16_t>(header + 2);
  const auto plain_length = LoadLe<uint32_t>(header + 4);
  if (LoadLe<uint32_t>(header + 12) != kFrameMagic ||
      LoadLe<uint32_t>(header + kStoredLengthOffset) != payload.size()) {
    return Status::Corruption("not a frame");
  }
  if (LoadLe<uint64_t>(header + kChecksumOffset) != FrameChecksum(stored, payload)) {
    return Status::Corruption("frame checksum does not match");
  }
  SNAP_RETURN_IF_ERROR(sealer.CheckFlags(header[kFlagsOffset], "frame"));
  if (chunk_count == 0 || chunk_count > kFrameChunksMax || plain_length > kFramePlainMax ||
      plain_length < size_t{chunk_count} * sizeof(uint32_t) ||
      payload.size() < sealer.part_overhead()) {
    return Status::Corruption("frame header is out of bounds");
  }
  return {};
}

// Puts the payload of a frame whose header was checked into `out`, which fits it.
Status OpenPayload(const Sealer& sealer, const FramePlace& place, ByteSpan stored,
                   MutableByteSpan out) {
  return sealer
      .OpenPart(KindOfFrame(place.kind), place.offset, stored.first(kChecksumOffset),
                stored.subspan(kFrameHeaderBytes), out)
      .WithContext("frame");
}

// Whether zstd is worth its time: its first level must save 3 % of samples from all over the frame.
// In a short frame they would be a large share of all it has to do.
bool LooksCompressible(ZSTD_CCtx* context, ByteSpan plain) {
  constexpr size_t kSampleCount = 8;
  constexpr size_t kSampleBytes = 2 << 10;
  constexpr size_t kAllBytes = kSampleCount * kSampleBytes;
  if (plain.size() < 16 * kAllBytes) return true;
  uint8_t samples[kAllBytes];
  for (size_t i = 0; i < kSampleCount; ++i) {
    const size_t at = (plain.size() - kSampleBytes) / (kSampleCount - 1) * i;
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

FrameEncoder::FrameEncoder(bool to_be_sealed)
    : to_be_sealed_(to_be_sealed), context_(std::make_unique<Context>()) {
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
  header[kFlagsOffset] = 0;
  StoreLe<uint16_t>(header + 2, static_cast<uint16_t>(frame->chunks.size()));
  StoreLe<uint32_t>(header + 4, static_cast<uint32_t>(plain.size()));
  StoreLe<uint32_t>(header + kStoredLengthOffset, static_cast<uint32_t>(stored));
  StoreLe<uint32_t>(header + 12, kFrameMagic);
  StoreLe<uint64_t>(
      header + kChecksumOffset,
      to_be_sealed_ ? 0 : FrameChecksum({header, kFrameHeaderBytes}, {payload, stored}));
  return ByteSpan(out).first(kFrameHeaderBytes + stored);
}

uint64_t StoredFrameLength(ByteSpan header) {
  return uint64_t{LoadLe<uint32_t>(header.data() + kStoredLengthOffset)} + kFrameHeaderBytes;
}

void SealFrame(const Sealer& sealer, const Sealer::Salt& salt, const FramePlace& place,
               ByteSpan frame, MutableByteSpan out) {
  SNAP_CHECK(out.size() == frame.size() + Sealer::kPartOverhead);
  uint8_t* const header = out.data();
  const MutableByteSpan payload = out.subspan(kFrameHeaderBytes);
  std::memcpy(header, frame.data(), kFrameHeaderBytes);
  header[kFlagsOffset] = kFlagSealed;
  StoreLe<uint32_t>(header + kStoredLengthOffset, static_cast<uint32_t>(payload.size()));
  sealer.SealPart(KindOfFrame(place.kind), salt, place.offset, {header, kChecksumOffset},
                  frame.subspan(kFrameHeaderBytes), payload);
  StoreLe<uint64_t>(header + kChecksumOffset, FrameChecksum({header, kFrameHeaderBytes}, payload));
}

Result<Bytes> OpenFrame(const Sealer& sealer, const FramePlace& place, ByteSpan stored) {
  SNAP_RETURN_IF_ERROR(CheckFrameHeader(sealer, stored));
  if (!sealer.encrypted()) return Bytes(stored.begin(), stored.end());
  Bytes out(stored.size() - Sealer::kPartOverhead);
  const MutableByteSpan payload = MutableByteSpan(out).subspan(kFrameHeaderBytes);
  SNAP_RETURN_IF_ERROR(OpenPayload(sealer, place, stored, payload));
  std::memcpy(out.data(), stored.data(), kFrameHeaderBytes);
  out[kFlagsOffset] = 0;
  StoreLe<uint32_t>(out.data() + kStoredLengthOffset, static_cast<uint32_t>(payload.size()));
  StoreLe<uint64_t>(out.data() + kChecksumOffset, FrameChecksum(out, payload));
  return out;
}

Sealer::Salt FrameSalt(ByteSpan stored) {
  Sealer::Salt salt;
  SNAP_CHECK(stored.size() >= kFrameHeaderBytes + salt.size());
  std::memcpy(salt.data(), stored.data() + kFrameHeaderBytes, salt.size());
  return salt;
}

struct FrameDecoder::Context {
  const Sealer* sealer;
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
  Bytes opened;  // a compressed payload; only ever grows

  explicit Context(const Sealer* the_sealer) : sealer(the_sealer) {}
  ~Context() { ZSTD_freeDCtx(zstd); }
  Status Unpack(const FramePlace& place, ByteSpan stored, MutableByteSpan out);
};

// The plain bytes, table included, into `out`, which fits them.
Status FrameDecoder::Context::Unpack(const FramePlace& place, ByteSpan stored,
                                     MutableByteSpan out) {
  const auto codec = static_cast<Codec>(stored[0]);
  ByteSpan payload = stored.subspan(kFrameHeaderBytes);
  const size_t payload_size = payload.size() - sealer->part_overhead();
  if (codec == Codec::kRaw) {
    if (payload_size != out.size()) return Status::Corruption("raw frame of wrong length");
    if (sealer->encrypted()) return OpenPayload(*sealer, place, stored, out);
    std::memcpy(out.data(), payload.data(), payload.size());
    return {};
  }
  if (codec != Codec::kZstd) {
    return Status::Unsupported(fmt::format("frame codec {} is newer than this program", stored[0]));
  }
  if (sealer->encrypted()) {
    if (opened.size() < payload_size) opened.resize(payload_size);
    const MutableByteSpan plain = MutableByteSpan(opened).first(payload_size);
    SNAP_RETURN_IF_ERROR(OpenPayload(*sealer, place, stored, plain));
    payload = plain;
  }
  const size_t got =
      ZSTD_decompressDCtx(zstd, out.data(), out.size(), payload.data(), payload.size());
  if (ZSTD_isError(got) != 0 || got != out.size()) {
    return Status::Corruption("frame does not decompress");
  }
  return {};
}

FrameDecoder::FrameDecoder(const Sealer* sealer) : context_(std::make_unique<Context>(sealer)) {
  SNAP_CHECK(context_->zstd != nullptr);
}

FrameDecoder::~FrameDecoder() = default;

Status FrameDecoder::Decode(const FramePlace& place, ByteSpan stored, DecodedFrame* out) {
  SNAP_RETURN_IF_ERROR(CheckFrameHeader(*context_->sealer, stored));
  const auto chunk_count = LoadLe<uint16_t>(stored.data() + 2);
  const auto plain_length = LoadLe<uint32_t>(stored.data() + 4);
  const size_t table_bytes = size_t{chunk_count} * sizeof(uint32_t);
  out->data.resize(plain_length);
  SNAP_RETURN_IF_ERROR(context_->Unpack(place, stored, out->data));
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
