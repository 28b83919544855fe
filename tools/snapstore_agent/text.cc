#include "tools/snapstore_agent/text.h"

#include <fmt/format.h>

#include <array>

namespace snapstore::agent {
namespace {

constexpr size_t kShortIdDigits = 12;

std::string Bytes(const nlohmann::json& record, const char* member) {
  return SizeText(static_cast<uint64_t>(NumberOf(record, member)));
}

}  // namespace

std::string SizeText(uint64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string TextOf(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

double NumberOf(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_number() ? it->get<double>() : 0;
}

std::string RecordText(const nlohmann::json& record) {
  const std::string error = TextOf(record, "error");
  if (!error.empty()) {
    return fmt::format("failed at {} ({}): {}", TextOf(record, "time"), TextOf(record, "trigger"),
                       error);
  }
  return fmt::format("{} at {}: frozen {:.1f} ms, {} captured, {} new, {} stored, {:.2f} s",
                     TextOf(record, "id").substr(0, kShortIdDigits), TextOf(record, "time"),
                     NumberOf(record, "frozen_ms"), Bytes(record, "bytes_captured"),
                     Bytes(record, "bytes_new"), Bytes(record, "bytes_stored"),
                     NumberOf(record, "seconds"));
}

}  // namespace snapstore::agent
