// The text format of `--changed-blocks FILE`: one "OFFSET LENGTH" a line, in bytes, decimal or
// hexadecimal after 0x; '#' starts a comment; empty lines are skipped.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_CHANGED_BLOCKS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_CHANGED_BLOCKS_H_

#include <string_view>
#include <vector>

#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore::cli {

// The ranges ascending, those that touch or overlap joined. InvalidArgument names "file:line".
Result<std::vector<ByteRange>> ParseChangedBlocks(std::string_view text, std::string_view file);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_CHANGED_BLOCKS_H_
