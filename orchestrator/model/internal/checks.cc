#include "orchestrator/model/internal/checks.h"

#include <arpa/inet.h>
#include <strings.h>

#include <algorithm>
#include <array>

#include "base/base64.h"
#include "base/clock.h"
#include "base/cron.h"
#include "orchestrator/model/ids.h"

namespace snapstore::spot {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }

std::string_view Shown(std::string_view value) { return value.substr(0, 80); }

bool IsSameWord(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// Two digits at `at`, at most `most`.
bool TwoDigits(std::string_view text, size_t at, int most) {
  return IsDigit(text[at]) && IsDigit(text[at + 1]) &&
         (text[at] - '0') * 10 + (text[at + 1] - '0') <= most;
}

bool IsWeekTime(std::string_view text) {
  constexpr std::array<std::string_view, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  return text.size() == 9 &&
         std::find(kDays.begin(), kDays.end(), text.substr(0, 3)) != kDays.end() &&
         text[3] == ':' && TwoDigits(text, 4, 23) && text[6] == ':' && TwoDigits(text, 7, 59);
}

// Lower-case words and a number, joined by '-'.
bool IsRegion(std::string_view text) {
  const size_t dash = text.rfind('-');
  if (dash == std::string_view::npos || dash + 2 != text.size() || !IsDigit(text.back())) {
    return false;
  }
  const std::string_view words = text.substr(0, dash);
  return words.size() >= 4 && words.find('-') != std::string_view::npos && words.front() != '-' &&
         words.back() != '-' && words.find("--") == std::string_view::npos &&
         std::all_of(words.begin(), words.end(), [](char c) { return IsLower(c) || c == '-'; });
}

// "arn:aws…:<service>:"; nothing else is looked at.
bool IsArnOf(std::string_view service, std::string_view arn) {
  if (!arn.starts_with("arn:aws")) return false;
  const size_t colon = arn.find(':', 4);
  return colon != std::string_view::npos &&
         arn.substr(colon + 1).starts_with(fmt::format("{}:", service));
}

}  // namespace

std::string TextOf::operator()(const std::string& value) const {
  if (value.size() < least || value.size() > most) {
    return value.empty()
               ? "must not be empty"
               : fmt::format("must be {} to {} bytes long, not {}", least, most, value.size());
  }
  const bool controls = std::any_of(value.begin(), value.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
  });
  return controls ? "must not contain control characters" : "";
}

std::string IdOf::operator()(const std::string& value) const {
  if (IsId(prefix, value)) return "";
  return fmt::format("must be an id of the form {}…, not '{}'", prefix, Shown(value));
}

std::string WordOf::operator()(const std::string& value) const {
  const bool known = std::any_of(words.begin(), words.end(),
                                 [&](std::string_view word) { return IsSameWord(word, value); });
  return known ? "" : fmt::format("must be one of {}", fmt::join(words, ", "));
}

void WordOf::Spell(std::optional<std::string>* value) const {
  if (!*value) return;
  for (const std::string_view word : words) {
    if (IsSameWord(word, **value)) **value = word;
  }
}

std::string Base64Of::operator()(const std::string& value) const {
  const auto text = Base64Decode(value);
  if (!text.ok()) return "must be base64 text";
  if (text->size() > most) {
    return fmt::format("must hold at most {} bytes, not {}", most, text->size());
  }
  return text->starts_with(start) ? "" : fmt::format("must hold text that begins with {}", start);
}

std::string CheckRegion(const std::string& value) {
  if (IsRegion(value) && value.size() <= 32) return "";
  return fmt::format("must be an AWS region such as us-east-1, not '{}'", Shown(value));
}

std::string CheckZone(const std::string& value) {
  if (!value.empty() && value.size() <= 64 && IsLower(value.back()) &&
      IsRegion(std::string_view(value).substr(0, value.size() - 1))) {
    return "";
  }
  return fmt::format("must be an availability zone such as us-east-1a, not '{}'", Shown(value));
}

std::string CheckIpv4(const std::string& value) {
  in_addr address{};
  if (inet_pton(AF_INET, value.c_str(), &address) == 1) return "";
  return fmt::format("must be a dotted IPv4 address, not '{}'", Shown(value));
}

std::string CheckInstanceType(const std::string& value) {
  const size_t dot = value.find('.');
  const bool characters = std::all_of(value.begin(), value.end(), [](char c) {
    return IsDigit(c) || IsLower(c) || c == '-' || c == '.';
  });
  if (characters && dot != std::string::npos && dot > 0 && dot + 1 < value.size() &&
      dot == value.rfind('.') && value.size() <= 64) {
    return "";
  }
  return fmt::format("must be an instance type such as m5.large, not '{}'", Shown(value));
}

std::string CheckCron(const std::string& value) {
  if (value.starts_with('@')) return "must have five fields";
  const auto schedule = CronSchedule::Parse(value);
  return schedule.ok() ? "" : schedule.status().message();
}

std::string CheckTime(const std::string& value) {
  if (ParseTime(value).ok()) return "";
  return fmt::format("must be a time such as 2026-03-01T09:15:00Z, not '{}'", Shown(value));
}

std::string CheckWeekWindow(const std::string& value) {
  const std::string_view text = value;
  if (text.size() == 19 && text[9] == '-' && IsWeekTime(text.substr(0, 9)) &&
      IsWeekTime(text.substr(10)) && text.substr(0, 9) != text.substr(10)) {
    return "";
  }
  return fmt::format("must be a window such as Mon:03:00-Wed:02:30, not '{}'", Shown(text));
}

std::string CheckProfileArn(const std::string& value) {
  constexpr std::string_view kRole = ":role/";
  constexpr std::string_view kProfile = ":instance-profile/";
  if (!IsArnOf("iam", value)) {
    return "must be the ARN of an instance profile: arn:aws:iam::<account>:instance-profile/<name>";
  }
  if (const size_t role = value.find(kRole); role != std::string::npos) {
    std::string profile = value;
    profile.replace(role, kRole.size(), kProfile);
    return fmt::format("is the ARN of a role; its instance profile is usually {}", profile);
  }
  const size_t account = value.find("::");
  const size_t name = value.find(kProfile);
  const std::string digits =
      name == std::string::npos || account == std::string::npos || account + 2 > name
          ? ""
          : value.substr(account + 2, name - account - 2);
  if (digits.size() != 12 || !std::all_of(digits.begin(), digits.end(), IsDigit) ||
      name + kProfile.size() >= value.size()) {
    return "must have the form arn:aws:iam::<12 digits>:instance-profile/<name>";
  }
  return "";
}

std::string CheckLoadBalancerArn(const std::string& value) {
  if (IsArnOf("elasticloadbalancing", value) && value.find(":targetgroup/") != std::string::npos) {
    return "";
  }
  return "must be the ARN of a target group: arn:aws:elasticloadbalancing:…:targetgroup/…";
}

}  // namespace snapstore::spot
