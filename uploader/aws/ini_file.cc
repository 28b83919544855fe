#include "uploader/aws/ini_file.h"

#include <algorithm>
#include <cctype>

namespace snapstore {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kProfile = "profile";

std::string_view Trim(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

// The profile that a section's title names; empty: the section is something else.
std::string_view ProfileOf(std::string_view title, AwsFileKind kind) {
  title = Trim(title);
  if (kind == AwsFileKind::kCredentials) return title;
  if (title == "default") return title;
  if (!title.starts_with(kProfile)) return {};
  title.remove_prefix(kProfile.size());
  const std::string_view name = Trim(title);
  return name.size() < title.size() ? name : std::string_view();
}

// What stands before a '#' or ';' that follows a blank.
std::string_view WithoutComment(std::string_view value) {
  for (size_t at = 1; at < value.size(); ++at) {
    if ((value[at] == '#' || value[at] == ';') && kBlanks.contains(value[at - 1])) {
      return Trim(value.substr(0, at));
    }
  }
  return value;
}

}  // namespace

Result<AwsProfiles> ParseAwsFile(std::string_view text, AwsFileKind kind) {
  AwsProfiles profiles;
  AwsProfile* profile = nullptr;
  bool in_section = false;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = Trim(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    Status broken = Status::InvalidArgument("line " + std::to_string(number) + " is not a setting");
    if (raw.front() == '[') {
      const size_t close = line.find(']');
      if (close == std::string_view::npos) return broken;
      const std::string_view name = ProfileOf(line.substr(1, close - 1), kind);
      profile = name.empty() ? nullptr : &profiles[std::string(name)];
      in_section = true;
      continue;
    }
    if (kBlanks.contains(raw.front()) && in_section) continue;
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0 || !in_section) return broken;
    if (profile == nullptr) continue;
    std::string key(Trim(line.substr(0, equals)));
    for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    (*profile)[key] = WithoutComment(Trim(line.substr(equals + 1)));
  }
  return profiles;
}

}  // namespace snapstore
