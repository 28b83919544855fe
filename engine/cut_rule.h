// CutRule: how the content of one entry is cut into chunks.
#ifndef SNAPSTORE_ENGINE_CUT_RULE_H_
#define SNAPSTORE_ENGINE_CUT_RULE_H_

#include <cstdint>

#include "snapstore/snapshot.h"

namespace snapstore {

enum class CutRule : uint8_t {
  kNone,  // no content
  kCdc,
  kAlignedGroups,  // volumes
  kAlignedBlocks,  // memory
};

// For files and volumes. `image`: whether it holds a file system or disk.
inline CutRule RuleFor(Profile profile, bool image) {
  if (profile == Profile::kAuto) return image ? CutRule::kAlignedGroups : CutRule::kCdc;
  return profile == Profile::kAligned ? CutRule::kAlignedGroups : CutRule::kCdc;
}

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CUT_RULE_H_
