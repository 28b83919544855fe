// Log: one line a message to standard error, with UTC time and level.
//
//   LogInfo("synced {} index segments in {:.1f} s", count, seconds);
//
// A message is always one line: control characters (newlines in file names) are shown as \xNN.
// Secrets must not be logged; as a second fence, texts given to HideInLogs (a password, a token)
// are replaced wherever they turn up in a message.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_BASE_LOG_H_
#define SNAPSTORE_BASE_LOG_H_

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "snapstore/status.h"

namespace snapstore {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

// "debug", "info", "warning", "error" or "off".
Result<LogLevel> ParseLogLevel(std::string_view name);

// Messages below `level` are dropped. kInfo at start.
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);

// From now on `secret` appears as "***". Shorter than four bytes it is ignored: it would blot out
// ordinary text.
void HideInLogs(std::string_view secret);

// Logs a text as it is, without formatting.
void LogText(LogLevel level, std::string_view text);

// What LogText would print after time and level: escaped, secrets hidden.
std::string SanitizedForLog(std::string_view text);

template <typename... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kDebug)) return;
  LogText(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kInfo)) return;
  LogText(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kWarning)) return;
  LogText(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kError)) return;
  LogText(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_LOG_H_
