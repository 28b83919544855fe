// Small objects that people may want to look at: one line of JSON, then one line with the SHA-256
// of the first, in hex. docs/format.md, "Config" and "Key slot".
//
// Thread safety: free functions.
#ifndef SNAPSTORE_ENGINE_JSON_LINE_H_
#define SNAPSTORE_ENGINE_JSON_LINE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore {

Bytes EncodeJsonLine(const nlohmann::json& object);

// The JSON object. Corruption unless both lines are whole and the object's `format` is `format`;
// Unsupported if its `version` is above `version_max`. `what` names the object in messages.
Result<nlohmann::json> DecodeJsonLine(ByteSpan bytes, std::string_view format, uint64_t version_max,
                                      std::string_view what);

// A field of text; empty when there is none.
std::string JsonText(const nlohmann::json& object, const char* key);
// A field of hex digits, which fills `out` exactly, or the status says which field does not.
Status JsonHex(const nlohmann::json& object, const char* key, MutableByteSpan out);
// The same of any length.
Result<Bytes> JsonHex(const nlohmann::json& object, const char* key);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_JSON_LINE_H_
