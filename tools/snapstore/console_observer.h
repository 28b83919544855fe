// ConsoleObserver: progress, warnings and cancellation of an operation on this terminal.
//
// Progress is a line on standard error, rewritten in place, when that is a terminal; with --json it
// is a message on standard output once a second. Warnings go to standard error, one line each.
//
// Thread safety: as Observer asks; Finish after the operation.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_CONSOLE_OBSERVER_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_CONSOLE_OBSERVER_H_

#include <chrono>
#include <string>
#include <utility>

#include "base/clock.h"
#include "snapstore/observer.h"
#include "tools/snapstore/printer.h"

namespace snapstore::cli {

class ConsoleObserver : public Observer {
 public:
  enum class ProgressStyle { kNone, kBar, kJson };

  // `out` must outlive this. `json`: warnings as JSON. `command` stands for the phase until
  // progress names one.
  ConsoleObserver(Printer* out, ProgressStyle style, bool json, std::string command)
      : out_(out), style_(style), json_(json), phase_(std::move(command)) {}

  void OnProgress(const Progress& progress) override;
  void OnWarning(const Warning& warning) override;
  bool Cancelled() override;

  // No progress from here on; for output that is a single document.
  void MuteProgress() { style_ = ProgressStyle::kNone; }

  // Removes the progress line, if there is one.
  void Finish();

  // Some warning was about damaged stored bytes.
  bool saw_corruption() const { return saw_corruption_; }

 private:
  using Clock = std::chrono::steady_clock;

  Printer* const out_;
  ProgressStyle style_;
  const bool json_;
  bool saw_corruption_ = false;
  bool line_shown_ = false;
  std::string phase_;
  Clock::time_point phase_begin_ = Clock::now();
  // Whatever takes less than an interval says nothing.
  Clock::time_point last_shown_ = Clock::now();
  Stopwatch elapsed_;
};

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_CONSOLE_OBSERVER_H_
