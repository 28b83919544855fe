#include "uploader/internal/mount_table.h"

#include <sstream>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr size_t kMountTableBytesMax = 16 << 20;

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// Space, tab, newline and backslash are written as three octal digits.
std::string UnescapeMountField(const std::string& field) {
  std::string out;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && IsOctal(field[i + 1]) &&
        IsOctal(field[i + 2]) && IsOctal(field[i + 3])) {
      out.push_back(static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                                      (field[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

// Calls `visit` with each of the words between commas until it returns true; whether it did.
template <typename Visit>
bool AnyWord(std::string_view words, const Visit& visit) {
  for (;;) {
    const size_t comma = words.find(',');
    if (visit(words.substr(0, comma))) return true;
    if (comma == std::string_view::npos) return false;
    words.remove_prefix(comma + 1);
  }
}

}  // namespace

bool MountEntry::HasOption(std::string_view name) const {
  return AnyWord(options, [name](std::string_view word) { return word == name; });
}

std::string MountEntry::OptionValue(std::string_view name) const {
  std::string value;
  AnyWord(options, [&](std::string_view word) {
    if (!word.starts_with(name) || word.substr(name.size(), 1) != "=") return false;
    value = word.substr(name.size() + 1);
    return true;
  });
  return value;
}

std::vector<MountEntry> ParseMountTable(const std::string& mountinfo) {
  std::vector<MountEntry> mounts;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    MountEntry mount;
    std::string skip;
    fields >> skip >> skip >> mount.device >> mount.root >> mount.mount_point;
    while (fields >> skip && skip != "-") {
    }
    if (!(fields >> mount.type >> mount.source >> mount.options)) continue;
    mount.root = UnescapeMountField(mount.root);
    mount.mount_point = UnescapeMountField(mount.mount_point);
    mount.source = UnescapeMountField(mount.source);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

Result<std::vector<MountEntry>> ReadMountTable() {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                        ReadWholeFile("/proc/self/mountinfo", kMountTableBytesMax));
  return ParseMountTable(std::string(AsText(bytes)));
}

}  // namespace snapstore::internal
