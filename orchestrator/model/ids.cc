#include "orchestrator/model/ids.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/random.h"

namespace snapstore::spot {
namespace {

constexpr size_t kIdBytesMax = 64;

template <size_t kBytes>
std::string RandomHex() {
  std::array<uint8_t, kBytes> bytes{};
  SecureRandom(bytes);
  return HexEncode(bytes);
}

}  // namespace

std::string NewId(std::string_view prefix) {
  return std::string(prefix) + (prefix == IdPrefix::kOperation ? RandomHex<8>() : RandomHex<4>());
}

bool IsId(std::string_view prefix, std::string_view text) {
  return text.starts_with(prefix) && text.size() > prefix.size() && text.size() <= kIdBytesMax &&
         std::all_of(text.begin() + static_cast<ptrdiff_t>(prefix.size()), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); });
}

std::string NewUuid() {
  std::array<uint8_t, 16> bytes{};
  SecureRandom(bytes);
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string text = HexEncode(bytes);
  for (const size_t at : {20U, 16U, 12U, 8U}) text.insert(at, 1, '-');
  return text;
}

}  // namespace snapstore::spot
