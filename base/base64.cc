#include "base/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace snapstore {
namespace {

bool IsDigit(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/';
}

}  // namespace

std::string Base64Encode(ByteSpan bytes) {
  // Four characters for three bytes, and a zero.
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

Result<std::string> Base64Decode(std::string_view text) {
  // OpenSSL passes over blanks and knows padding by its zeros only.
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  const std::string_view digits = text.substr(0, text.size() - padding);
  if (text.size() % 4 != 0 || !std::all_of(digits.begin(), digits.end(), IsDigit)) {
    return Status::InvalidArgument("not base64 text");
  }
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return Status::InvalidArgument("not base64 text");
  bytes.resize(static_cast<size_t>(size) - padding);
  return bytes;
}

}  // namespace snapstore
