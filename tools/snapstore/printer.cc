#include "tools/snapstore/printer.h"

#include <cerrno>
#include <string>

namespace snapstore::cli {

Status Printer::Write(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (!failure_.ok()) return failure_;
  if (fwrite(bytes.data(), 1, bytes.size(), stream_) != bytes.size()) {
    failure_ = Status::FromErrno(errno, "write standard output");
  }
  return failure_;
}

Status Printer::Line(std::string_view text) { return Write(std::string(text) + "\n"); }

Status Printer::Json(const cli::Json& document) {
  Status status = Write(DumpJson(document) + "\n");
  // A program that follows the messages must not wait for a buffer to fill.
  return status.ok() ? Flush() : status;
}

Status Printer::Raw(ByteSpan bytes) { return Write(AsText(bytes)); }

Status Printer::Flush() {
  std::lock_guard lock(mutex_);
  if (!failure_.ok()) return failure_;
  if (fflush(stream_) != 0) failure_ = Status::FromErrno(errno, "write standard output");
  return failure_;
}

bool Printer::pipe_closed() const {
  std::lock_guard lock(mutex_);
  return failure_.error_number() == EPIPE;
}

}  // namespace snapstore::cli
