// One line of progress: phase, done of total, share, rate, time left, what is at hand.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_PROGRESS_BAR_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_PROGRESS_BAR_H_

#include <cstddef>
#include <string>

#include "snapstore/observer.h"

namespace snapstore::cli {

// `seconds`: since the phase began. At most `width` columns, safe for a terminal.
std::string FormatProgress(const Progress& progress, double seconds, size_t width);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_PROGRESS_BAR_H_
