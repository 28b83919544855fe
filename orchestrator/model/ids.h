// Ids of the Spot API: a prefix that says of what, then eight hexadecimal digits. On input anything
// of [0-9a-z] is good after the prefix: documents and older servers have other lengths.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_IDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_IDS_H_

#include <string>
#include <string_view>

namespace snapstore::spot {

struct IdPrefix {
  static constexpr std::string_view kAccount = "act-";
  static constexpr std::string_view kNode = "smi-";
  static constexpr std::string_view kMigration = "smg-";
  static constexpr std::string_view kConfig = "apc-";
  static constexpr std::string_view kGroup = "sig-";
  static constexpr std::string_view kStatefulInstance = "ssi-";
  static constexpr std::string_view kToken = "tok-";
  static constexpr std::string_view kOperation = "op-";
};

// With eight random digits, of operations sixteen. Whoever stores it says whether it is new.
std::string NewId(std::string_view prefix);

bool IsId(std::string_view prefix, std::string_view text);

// RFC 4122, version 4.
std::string NewUuid();

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_IDS_H_
