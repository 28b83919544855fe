// Base64 (RFC 4648, section 4: padded, one line).
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_BASE_BASE64_H_
#define SNAPSTORE_BASE_BASE64_H_

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore {

std::string Base64Encode(ByteSpan bytes);

// InvalidArgument: other characters, line ends among them, or padding that is missing.
Result<std::string> Base64Decode(std::string_view text);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_BASE64_H_
