// Printer: standard output, as lines of text, lines of JSON or raw bytes.
//
// The first failure sticks: later calls return it without writing. Thread safety: one call at a
// time for the whole line; lines of several threads do not mix.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_PRINTER_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_PRINTER_H_

#include <cstdio>
#include <mutex>
#include <string_view>

#include "base/bytes.h"
#include "snapstore/status.h"
#include "tools/snapstore/json.h"

namespace snapstore::cli {

class Printer {
 public:
  // `stream` stays the caller's.
  explicit Printer(FILE* stream) : stream_(stream) {}

  // `text` must be safe for a terminal (EscapeForTerminal); a newline is added.
  Status Line(std::string_view text);
  Status Json(const Json& document);
  Status Raw(ByteSpan bytes);
  Status Flush();

  // The reader of a pipe went away: an end, not something to complain about.
  bool pipe_closed() const;

 private:
  Status Write(std::string_view bytes);

  mutable std::mutex mutex_;
  FILE* stream_;
  Status failure_;
};

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_PRINTER_H_
