// Byte views, little-endian coding, varints and hex.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_BASE_BYTES_H_
#define SNAPSTORE_BASE_BYTES_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore {

static_assert(std::endian::native == std::endian::little,
              "stored integers are little-endian and are copied, not swapped");

using ByteSpan = std::span<const uint8_t>;
using MutableByteSpan = std::span<uint8_t>;
using Bytes = std::vector<uint8_t>;

inline ByteSpan AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads a little-endian integer at `p`; REQUIRES sizeof(T) readable bytes.
template <typename T>
T LoadLe(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}
template <typename T>
void StoreLe(uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

// Appends to a byte vector; the counterpart of ByteReader.
class ByteWriter {
 public:
  explicit ByteWriter(Bytes* out) : out_(out) {}

  template <typename T>
  void Fixed(T value) {
    const size_t at = out_->size();
    out_->resize(at + sizeof(T));
    StoreLe<T>(out_->data() + at, value);
  }
  void U8(uint8_t v) { out_->push_back(v); }
  void U16(uint16_t v) { Fixed(v); }
  void U32(uint32_t v) { Fixed(v); }
  void U64(uint64_t v) { Fixed(v); }
  // LEB128, as protobuf and DWARF write it: 7 bits a byte, low group first.
  void Varint(uint64_t v) {
    while (v >= 0x80) {
      out_->push_back(static_cast<uint8_t>(v) | 0x80);
      v >>= 7;
    }
    out_->push_back(static_cast<uint8_t>(v));
  }
  void Raw(ByteSpan bytes) { out_->insert(out_->end(), bytes.begin(), bytes.end()); }

 private:
  Bytes* out_;
};

// Consumes a byte span from the front. Reading past the end makes ok() false and yields zeros from
// then on, so that a parser of foreign bytes can read a whole record and test once.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan in) : in_(in) {}

  bool ok() const { return ok_; }
  bool empty() const { return in_.empty(); }
  size_t remaining() const { return in_.size(); }

  template <typename T>
  T Fixed() {
    if (in_.size() < sizeof(T)) {
      Fail();
      return T{};
    }
    T value = LoadLe<T>(in_.data());
    in_ = in_.subspan(sizeof(T));
    return value;
  }
  uint8_t U8() { return Fixed<uint8_t>(); }
  uint16_t U16() { return Fixed<uint16_t>(); }
  uint32_t U32() { return Fixed<uint32_t>(); }
  uint64_t U64() { return Fixed<uint64_t>(); }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) break;
      const uint8_t byte = in_.front();
      in_ = in_.subspan(1);
      // The tenth byte holds only the topmost bit.
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    Fail();
    return 0;
  }
  ByteSpan Raw(size_t size) {
    if (in_.size() < size) {
      Fail();
      return {};
    }
    ByteSpan out = in_.first(size);
    in_ = in_.subspan(size);
    return out;
  }

 private:
  void Fail() {
    ok_ = false;
    in_ = {};
  }

  ByteSpan in_;
  bool ok_ = true;
};

// Lower-case hex, two digits a byte.
std::string HexEncode(ByteSpan bytes);
// Fills `out` exactly; InvalidArgument when `hex` has another length or a character that is not a
// hex digit.
Status HexDecode(std::string_view hex, MutableByteSpan out);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_BYTES_H_
