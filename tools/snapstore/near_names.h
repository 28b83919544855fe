// "did you mean": the known names closest to a mistyped one.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_NEAR_NAMES_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_NEAR_NAMES_H_

#include <string>
#include <string_view>
#include <vector>

namespace snapstore::cli {

// Those of `known` within two edits of `name` or beginning with it, nearest first.
std::vector<std::string> NearNames(std::string_view name, const std::vector<std::string>& known);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_NEAR_NAMES_H_
