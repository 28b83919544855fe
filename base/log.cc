#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <vector>

namespace snapstore {
namespace {

constexpr size_t kSecretBytesMin = 4;

struct Secrets {
  std::mutex mutex;
  std::vector<std::string> texts;
};

// Neither this nor the logger is ever destroyed: threads may log until the process ends.
Secrets& HiddenTexts() {
  static auto* const secrets = new Secrets;
  return *secrets;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

spdlog::logger& Logger() {
  static auto* const logger = [] {
    auto* const made =
        new spdlog::logger("snapstore", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *logger;
}

void HideSecrets(std::string* text) {
  constexpr std::string_view kMask = "***";
  Secrets& secrets = HiddenTexts();
  std::lock_guard lock(secrets.mutex);
  for (const std::string& secret : secrets.texts) {
    for (size_t at = text->find(secret); at != std::string::npos;
         at = text->find(secret, at + kMask.size())) {
      text->replace(at, secret.size(), kMask);
    }
  }
}

}  // namespace

Result<LogLevel> ParseLogLevel(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  if (name == "off") return LogLevel::kOff;
  return Status::InvalidArgument(
      fmt::format("log level '{}'; it may be debug, info, warning, error or off", name));
}

void SetLogLevel(LogLevel level) { Logger().set_level(SpdlogLevel(level)); }

bool LogEnabled(LogLevel level) {
  return level != LogLevel::kOff && Logger().should_log(SpdlogLevel(level));
}

void HideInLogs(std::string_view secret) {
  if (secret.size() < kSecretBytesMin) return;
  Secrets& secrets = HiddenTexts();
  std::lock_guard lock(secrets.mutex);
  secrets.texts.emplace_back(secret);
}

std::string SanitizedForLog(std::string_view text) {
  // Secrets first: escaping could change how they look.
  std::string plain(text);
  HideSecrets(&plain);
  std::string line;
  line.reserve(plain.size());
  for (const char c : plain) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

void LogText(LogLevel level, std::string_view text) {
  if (!LogEnabled(level)) return;
  const std::string line = SanitizedForLog(text);
  Logger().log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace snapstore
