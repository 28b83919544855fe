// "did you mean": the known names closest to a mistyped one.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_BASE_NEAR_NAMES_H_
#define SNAPSTORE_BASE_NEAR_NAMES_H_

#include <string>
#include <string_view>
#include <vector>

namespace snapstore {

// Those of `known` within two edits of `name` or beginning with it, nearest first.
std::vector<std::string> NearNames(std::string_view name, const std::vector<std::string>& known);

// "; did you mean 'a' or 'b'?", to end a message with; empty when nothing comes near.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& known);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_NEAR_NAMES_H_
