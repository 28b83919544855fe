// Checks of single values: each a callable that answers with what is wrong, or nothing.
// Private to the folder. Thread safety: values and free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_CHECKS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_CHECKS_H_

#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace snapstore::spot {

// Applies a check to every entry of a list.
template <typename C>
struct Each {
  explicit Each(C check) : each(std::move(check)) {}
  C each;
};

inline constexpr auto kNotEmpty = [](const auto& list) {
  return list.empty() ? std::string("must not be empty") : std::string();
};
inline constexpr auto kUnique = [](const std::vector<std::string>& list) {
  std::set<std::string_view> seen;
  for (const std::string& item : list) {
    if (!seen.insert(item).second) return fmt::format("has '{}' twice", item);
  }
  return std::string();
};

inline auto Between(int64_t least, int64_t most) {
  return [least, most](int64_t value) {
    return value >= least && value <= most
               ? std::string()
               : fmt::format("must be between {} and {}, not {}", least, most, value);
  };
}
// Seconds, counts: not negative, and no more than a year of seconds.
inline auto NotNegative() { return Between(0, 366 * 86'400); }
inline auto AnyOf(std::initializer_list<int64_t> values) {
  return [all = std::vector<int64_t>(values)](int64_t value) {
    for (const int64_t one : all) {
      if (one == value) return std::string();
    }
    return fmt::format("must be one of {}, not {}", fmt::join(all, ", "), value);
  };
}

// Bytes, without control characters.
struct TextOf {
  size_t least;
  size_t most;
  std::string operator()(const std::string& value) const;
};
// The prefix, then [0-9a-z]+: stricter shapes would refuse ids of other servers and of documents.
struct IdOf {
  std::string_view prefix;
  std::string operator()(const std::string& value) const;
};
// Words compared without regard to case.
struct WordOf {
  std::vector<std::string_view> words;
  std::string operator()(const std::string& value) const;
  // As it stands among the words; what is none of them stays as it is.
  void Spell(std::optional<std::string>* value) const;
};
// Base64 (RFC 4648, section 4, padded) of at most `most` bytes that begin with `start`.
struct Base64Of {
  size_t most;
  std::string_view start;
  std::string operator()(const std::string& value) const;
};

std::string CheckRegion(const std::string& value);        // us-east-1
std::string CheckZone(const std::string& value);          // us-east-1a
std::string CheckIpv4(const std::string& value);          // dotted
std::string CheckInstanceType(const std::string& value);  // m5.large
std::string CheckCron(const std::string& value);          // five fields
std::string CheckTime(const std::string& value);          // RFC 3339
std::string CheckWeekWindow(const std::string& value);    // Mon:01:30-Mon:05:00
std::string CheckProfileArn(const std::string& value);
std::string CheckLoadBalancerArn(const std::string& value);  // of a target group

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_CHECKS_H_
