#include "tools/snapstore/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace snapstore::cli {
namespace {

// Columns a string takes, one a code point: East Asian width is not worth a table here.
size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

}  // namespace

size_t Utf8Length(std::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto continues = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xbf) {
    return i < text.size() && at(i) >= low && at(i) <= high;
  };
  const uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool second =
        continues(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? uint8_t{0x9f} : uint8_t{0xbf});
    return second && continues(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool second =
        continues(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? uint8_t{0x8f} : uint8_t{0xbf});
    return second && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string EscapeForTerminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const auto lead = static_cast<uint8_t>(text[0]);
    const bool control = lead < 0x20 || lead == 0x7f;
    const bool c1 = length == 2 && lead == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0;
    const size_t taken = std::max<size_t>(length, 1);
    if (length == 0 || control || c1) {
      for (const char c : text.substr(0, taken)) {
        out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
      }
    } else {
      out += text.substr(0, taken);
    }
    text.remove_prefix(taken);
  }
  return out;
}

std::string FormatSize(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be shown as four digits before the point.
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string FormatDuration(double seconds) {
  const auto whole = static_cast<uint64_t>(std::llround(std::clamp(seconds, 0.0, 1e12)));
  const uint64_t minutes = whole / 60;
  if (minutes < 60) return fmt::format("{}:{:02}", minutes, whole % 60);
  return fmt::format("{}:{:02}:{:02}", minutes / 60, minutes % 60, whole % 60);
}

std::string FormatMode(EntryType type, uint32_t mode) {
  static constexpr std::string_view kLetters = "?-dlpscbB";
  const auto index = static_cast<size_t>(type);
  std::string out(1, index < kLetters.size() ? kLetters[index] : '?');
  for (int bit = 8; bit >= 0; --bit) {
    out += (mode & (1u << bit)) != 0 ? "xwr"[bit % 3] : '-';
  }
  if ((mode & 04000) != 0) out[3] = out[3] == 'x' ? 's' : 'S';
  if ((mode & 02000) != 0) out[6] = out[6] == 'x' ? 's' : 'S';
  if ((mode & 01000) != 0) out[9] = out[9] == 'x' ? 't' : 'T';
  return out;
}

Result<CheckSample> ParseSample(std::string_view text) {
  CheckSample sample;
  if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    const Result<uint64_t> part = ParseInteger(text.substr(0, slash));
    const Result<uint64_t> parts = ParseInteger(text.substr(slash + 1));
    if (!part.ok() || !parts.ok() || *part == 0 || *part > *parts || *parts > UINT32_MAX) {
      return Status::InvalidArgument(
          fmt::format("'{}' is not a part: write 3/7 for the third of seven", text));
    }
    sample.part = static_cast<uint32_t>(*part);
    sample.parts = static_cast<uint32_t>(*parts);
    return sample;
  }
  if (text.ends_with('%')) {
    SNAP_ASSIGN_OR_RETURN(sample.percent, ParsePercent(text));
    return sample;
  }
  const Result<uint64_t> bytes = ParseSize(text);
  // A number alone could be meant either way.
  if (!bytes.ok() || *bytes == 0 || (text.back() >= '0' && text.back() <= '9')) {
    return Status::InvalidArgument(
        fmt::format("'{}' is no sample: write a share (5%), bytes (2G) or a part (3/7)", text));
  }
  sample.bytes = *bytes;
  return sample;
}

Result<uint64_t> ParseInteger(std::string_view text) {
  std::string_view digits = text;
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    digits.remove_prefix(2);
    base = 16;
  }
  uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error == std::errc::result_out_of_range) {
    return Status::InvalidArgument(fmt::format("'{}' does not fit into 64 bits", text));
  }
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return Status::InvalidArgument(fmt::format("'{}' is not a whole number", text));
  }
  return value;
}

Result<uint64_t> ParseSize(std::string_view text) {
  const Status bad = Status::InvalidArgument(
      fmt::format("'{}' is not a size; write bytes, or a number with K, M, G or T", text));
  std::string_view number = text;
  if (number.starts_with("0x")) return ParseInteger(text);
  // The letters left of "iB" or "B", either of which may be left out after a unit.
  if (number.ends_with("iB")) {
    number.remove_suffix(2);
    if (number.empty() || std::string_view("KMGTkmgt").find(number.back()) == std::string::npos) {
      return bad;
    }
  } else if (number.ends_with("B")) {
    number.remove_suffix(1);
  }
  int shift = 0;
  if (!number.empty()) {
    const size_t unit =
        std::string_view("KMGT").find(static_cast<char>(std::toupper(number.back())));
    if (unit != std::string_view::npos) {
      shift = static_cast<int>(unit + 1) * 10;
      number.remove_suffix(1);
    }
  }
  if (number.empty() || number.find_first_not_of("0123456789.") != std::string_view::npos) {
    return bad;
  }
  if (number.find('.') == std::string_view::npos) {
    auto whole = ParseInteger(number);
    if (!whole.ok()) return whole;
    if (*whole > (UINT64_MAX >> shift)) {
      return Status::InvalidArgument(fmt::format("'{}' does not fit into 64 bits", text));
    }
    return *whole << shift;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value,
                                            std::chars_format::fixed);
  if (error != std::errc() || end != number.data() + number.size() || shift == 0) return bad;
  value = std::ldexp(value, shift);
  if (value >= 0x1p64) {
    return Status::InvalidArgument(fmt::format("'{}' does not fit into 64 bits", text));
  }
  return static_cast<uint64_t>(value);
}

Result<double> ParsePercent(std::string_view text) {
  std::string_view number = text;
  if (number.ends_with('%')) number.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value,
                                            std::chars_format::fixed);
  // Written so that a NaN fails as well.
  if (error != std::errc() || end != number.data() + number.size() ||
      !(value > 0 && value <= 100)) {
    return Status::InvalidArgument(
        fmt::format("'{}' is not a percentage above 0 and up to 100", text));
  }
  return value;
}

Result<int64_t> ParseDuration(std::string_view text) {
  const Status bad = Status::InvalidArgument(
      fmt::format("'{}' is not a duration; write for example 36h, 7d, 2w or 1y6m", text));
  constexpr int64_t kHour = 3600 * kNanosPerSecond;
  constexpr int64_t kDay = 24 * kHour;
  int64_t total = 0;
  if (text.empty()) return bad;
  while (!text.empty()) {
    uint32_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || end == text.data() + text.size()) return bad;
    int64_t unit = 0;
    switch (*end) {
      case 'h':
        unit = kHour;
        break;
      case 'd':
        unit = kDay;
        break;
      case 'w':
        unit = 7 * kDay;
        break;
      case 'm':
        unit = 30 * kDay;
        break;
      case 'y':
        unit = 365 * kDay;
        break;
      default:
        return bad;
    }
    if (count > static_cast<uint64_t>((INT64_MAX - total) / unit)) return bad;
    total += count * unit;
    text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  }
  return total;
}

Result<std::map<std::string, std::string>> ParseTags(const std::vector<std::string>& tags,
                                                     std::string_view option) {
  std::map<std::string, std::string> parsed;
  for (const std::string& tag : tags) {
    const size_t equals = tag.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Status::InvalidArgument(fmt::format("{}: '{}' is not KEY=VALUE", option, tag));
    }
    if (!IsUtf8(tag)) return Status::InvalidArgument(fmt::format("{}: not UTF-8", option));
    if (!parsed.emplace(tag.substr(0, equals), tag.substr(equals + 1)).second) {
      return Status::InvalidArgument(
          fmt::format("{}: '{}' is given twice", option, tag.substr(0, equals)));
    }
  }
  return parsed;
}

Result<std::string> NormalisePath(std::string_view path) {
  std::string out;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "..") {
      return Status::InvalidArgument(
          fmt::format("'{}' has a '..' component; name the path as `ls` shows it", path));
    }
    if (!part.empty() && part != ".") {
      if (!out.empty()) out += '/';
      out += part;
    }
    begin = end + 1;
  }
  return out;
}

void Table::Row(std::vector<std::string> cells) {
  SNAP_CHECK(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::vector<std::string> Table::Lines() const {
  std::vector<size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::vector<std::string> lines;
  lines.reserve(rows_.size());
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      const std::string padding(widths[i] - DisplayWidth(row[i]), ' ');
      line += columns_[i] == Align::kLeft ? row[i] + padding : padding + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

void AddStatistics(const SnapshotInfo& info, Table* table) {
  table->Row({"total", FormatSize(info.bytes_total)});
  table->Row({"read", FormatSize(info.bytes_read)});
  table->Row({"new", fmt::format("{} in {} of {} chunks", FormatSize(info.bytes_new),
                                 info.chunks_new, info.chunks_total)});
  table->Row({"stored", FormatSize(info.bytes_stored)});
  table->Row({"seconds", fmt::format("{:.2f}", info.seconds)});
}

std::vector<std::string> StageLines(const std::vector<PipelineStage>& stages) {
  Table table({Table::Align::kLeft, Table::Align::kRight, Table::Align::kRight});
  table.Row({"stage", "threads", "busy"});
  for (const PipelineStage& stage : stages) {
    if (stage.threads == 0) continue;
    table.Row({stage.name, fmt::format("{}", stage.threads),
               fmt::format("{:.0f} %", 100 * stage.Utilisation())});
  }
  return table.Lines();
}

std::string StoreUsageLine(const StoreUsage& usage) {
  std::string line = fmt::format("store: {} writes, {} reads", usage.writes, usage.reads);
  if (usage.deletes > 0) line += fmt::format(", {} deletes", usage.deletes);
  if (usage.retries > 0) {
    line += fmt::format("; {} retried, {} throttled", usage.retries, usage.throttled);
  }
  line += fmt::format("; {} up, {} down", FormatSize(usage.bytes_up), FormatSize(usage.bytes_down));
  // Two digits that matter: more would claim to be a bill.
  return line + fmt::format("; about ${:.2g} at list prices", usage.usd);
}

}  // namespace snapstore::cli
