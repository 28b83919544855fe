// Json: documents of the Spot API, with members in the order they were written; and the one parser
// of what clients send.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_JSON_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_JSON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore::spot {

using Json = nlohmann::ordered_json;

inline constexpr int kJsonDepthMax = 24;
// Members of one object; entries of lists have limits of their own.
inline constexpr size_t kJsonMembersMax = 256;

// InvalidArgument: not JSON (RFC 8259, UTF-8), an object that names a member twice, more than
// kJsonDepthMax levels, more than kJsonMembersMax members.
Result<Json> ParseJson(std::string_view text);

// Of what this program wrote itself: the limits are not checked, which saves a quarter of the time.
Result<Json> ParseTrustedJson(std::string_view text);

// Without blanks or line ends; what is not UTF-8 is replaced by U+FFFD.
std::string JsonText(const Json& document);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_JSON_H_
