#include "tools/snapstore/console_observer.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/progress_bar.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr std::chrono::milliseconds kBarInterval{100};
constexpr std::chrono::milliseconds kJsonInterval{1000};
constexpr size_t kDefaultColumns = 80;

size_t TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefaultColumns;
  return size.ws_col;
}

}  // namespace

void ConsoleObserver::OnProgress(const Progress& progress) {
  const auto now = Clock::now();
  if (progress.phase != phase_) {
    phase_ = progress.phase;
    phase_begin_ = now;
  }
  if (style_ == ProgressStyle::kNone) return;
  if (now - last_shown_ < (style_ == ProgressStyle::kBar ? kBarInterval : kJsonInterval)) return;
  last_shown_ = now;
  if (style_ == ProgressStyle::kJson) {
    // A failed write is remembered by the printer and ends the command later.
    (void)out_->Json(ProgressJson(progress, elapsed_.Seconds()));
    return;
  }
  const double seconds = std::chrono::duration<double>(now - phase_begin_).count();
  // A full last column would wrap the line on some terminals.
  const std::string line = FormatProgress(progress, seconds, TerminalColumns() - 1);
  fputs(fmt::format("\r{}\x1b[K", line).c_str(), stderr);
  fflush(stderr);
  line_shown_ = true;
}

void ConsoleObserver::OnWarning(const Warning& warning) {
  if (warning.status.Is(StatusCode::kCorruption)) saw_corruption_ = true;
  if (json_) {
    const std::string line = DumpJson(WarningJson(warning, phase_)) + "\n";
    fwrite(line.data(), 1, line.size(), stderr);
    return;
  }
  Finish();
  const std::string line = fmt::format("warning: {}: {}\n", EscapeForTerminal(warning.item),
                                       EscapeForTerminal(warning.status.message()));
  fwrite(line.data(), 1, line.size(), stderr);
}

bool ConsoleObserver::Cancelled() { return Interrupted() || out_->pipe_closed(); }

void ConsoleObserver::Finish() {
  if (!line_shown_) return;
  fputs("\r\x1b[K", stderr);
  fflush(stderr);
  line_shown_ = false;
}

}  // namespace snapstore::cli
