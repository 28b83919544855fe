#include "tools/snapstore/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

// Before this a rate is noise.
constexpr double kRateSecondsMin = 0.5;

// `text` cut to `columns` code points.
std::string Truncate(const std::string& text, size_t columns) {
  size_t at = 0;
  for (size_t shown = 0; at < text.size() && shown < columns; ++shown) {
    at += std::max<size_t>(Utf8Length(std::string_view(text).substr(at)), 1);
  }
  return text.substr(0, at);
}

}  // namespace

std::string FormatProgress(const Progress& progress, double seconds, size_t width) {
  std::string line = EscapeForTerminal(progress.phase);
  const bool in_bytes = progress.bytes_total > 0 || progress.bytes_done > 0;
  const uint64_t done = in_bytes ? progress.bytes_done : progress.items_done;
  const uint64_t total = in_bytes ? progress.bytes_total : progress.items_total;
  const auto amount = [&](uint64_t n) { return in_bytes ? FormatSize(n) : fmt::format("{}", n); };
  line += "  " + amount(done);
  if (total > 0) {
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    line += fmt::format(" / {}  {:3.0f}%", amount(total), share * 100);
  }
  if (in_bytes && progress.items_done > 0) line += fmt::format("  {} items", progress.items_done);
  if (seconds >= kRateSecondsMin && done > 0) {
    const double rate = static_cast<double>(done) / seconds;
    if (in_bytes) line += fmt::format("  {}/s", FormatSize(static_cast<uint64_t>(rate)));
    if (total > done) {
      line += "  ETA " + FormatDuration(static_cast<double>(total - done) / rate);
    }
  }
  if (!progress.current.empty()) line += "  " + EscapeForTerminal(progress.current);
  return Truncate(line, width);
}

}  // namespace snapstore::cli
