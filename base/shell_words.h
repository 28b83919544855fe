// SplitCommand: a command line cut into words as a shell does it, without any expansion.
#ifndef SNAPSTORE_BASE_SHELL_WORDS_H_
#define SNAPSTORE_BASE_SHELL_WORDS_H_

#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore {

// Blanks separate words; '…', "…" and \ quote as in POSIX sh. `$`, `*` and `~` stand for
// themselves. InvalidArgument: no word, an open quote, or an unquoted operator (| & ; < > ( ) or a
// newline), which without a shell would silently become an argument: wrap the line in sh -c '…'
// instead.
Result<std::vector<std::string>> SplitCommand(std::string_view line);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_SHELL_WORDS_H_
