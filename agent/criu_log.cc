#include "agent/criu_log.h"

#include <algorithm>
#include <array>

namespace snapstore::agent {
namespace {

// Logged as errors on machines where everything works.
constexpr std::array<std::string_view, 2> kHarmless{
    "Can't setup RLIMIT_NOFILE for self",
    "execvp(\"iptables",
};
constexpr size_t kMessageBytesMax = 400;

}  // namespace

std::string FirstCriuError(std::string_view log) {
  while (!log.empty()) {
    const size_t newline = std::min(log.find('\n'), log.size());
    std::string_view line = log.substr(0, newline);
    log.remove_prefix(std::min(newline + 1, log.size()));
    // "(00.011535) Error (criu/sk-unix.c:712): sk unix: Can't dump half of stream unix connection."
    const size_t error = line.find("Error (");
    if (error == std::string_view::npos) continue;
    line.remove_prefix(error);
    if (const size_t position = line.find("): "); position != std::string_view::npos) {
      line.remove_prefix(position + 3);
    }
    if (std::any_of(kHarmless.begin(), kHarmless.end(),
                    [&](std::string_view known) { return line.find(known) != line.npos; })) {
      continue;
    }
    return std::string(line.substr(0, kMessageBytesMax));
  }
  return {};
}

}  // namespace snapstore::agent
