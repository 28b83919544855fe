#include "orchestrator/localcloud/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace snapstore::localcloud {
namespace {

// "Filter.12.Name" -> "Filter.N.Name".
std::string WithoutNumbers(std::string_view name) {
  std::string pattern;
  while (true) {
    const size_t dot = std::min(name.find('.'), name.size());
    const std::string_view part = name.substr(0, dot);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    pattern += number ? "N" : part;
    if (dot == name.size()) return pattern;
    pattern += '.';
    name.remove_prefix(dot + 1);
  }
}

bool Fits(std::string_view pattern, std::string_view known) {
  if (!known.ends_with('*')) return pattern == known;
  known.remove_suffix(1);
  return pattern.size() > known.size() && pattern.starts_with(known);
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

ApiError Parameters::Check(std::initializer_list<std::string_view> known) const {
  for (const auto& [name, value] : values_) {
    if (name == "Action" || name == "Version" || name == "DryRun") continue;
    const std::string pattern = WithoutNumbers(name);
    if (std::none_of(known.begin(), known.end(),
                     [&pattern](std::string_view each) { return Fits(pattern, each); })) {
      return {"UnknownParameter", fmt::format("The parameter {} is not recognized", name)};
    }
  }
  return {};
}

std::string Parameters::Text(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::string() : found->second;
}

ApiResult<std::string> Parameters::Required(const std::string& name) const {
  std::string text = Text(name);
  if (!text.empty()) return text;
  return ApiError{"MissingParameter",
                  fmt::format("The request must contain the parameter {}", name)};
}

ApiResult<uint64_t> Parameters::Number(const std::string& name, uint64_t otherwise) const {
  if (!Has(name)) return otherwise;
  const std::optional<uint64_t> value = ParseNumber(Text(name));
  if (value) return *value;
  return InvalidValue(
      fmt::format("Value ({}) for parameter {} is invalid. Must be a number.", Text(name), name));
}

ApiResult<bool> Parameters::Truth(const std::string& name, bool otherwise) const {
  if (!Has(name)) return otherwise;
  const std::string text = Text(name);
  if (text == "true" || text == "false") return text == "true";
  return InvalidValue(
      fmt::format("Value ({}) for parameter {} is invalid. Must be true or false.", text, name));
}

std::vector<std::string> Parameters::List(const std::string& name) const {
  std::map<uint64_t, std::string> by_number;
  const std::string prefix = name + ".";
  for (auto at = values_.lower_bound(prefix); at != values_.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    const auto number = ParseNumber(std::string_view(at->first).substr(prefix.size()));
    if (number) by_number[*number] = at->second;
  }
  std::vector<std::string> list;
  list.reserve(by_number.size());
  for (auto& [number, value] : by_number) list.push_back(std::move(value));
  return list;
}

std::vector<Parameters> Parameters::Structures(const std::string& name) const {
  std::map<uint64_t, std::map<std::string, std::string>> by_number;
  const std::string prefix = name + ".";
  for (auto at = values_.lower_bound(prefix); at != values_.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    const std::string_view rest = std::string_view(at->first).substr(prefix.size());
    const size_t dot = rest.find('.');
    const auto number = ParseNumber(rest.substr(0, dot));
    if (!number || dot == rest.npos) continue;
    by_number[*number][std::string(rest.substr(dot + 1))] = at->second;
  }
  std::vector<Parameters> list;
  list.reserve(by_number.size());
  for (auto& [number, values] : by_number) list.emplace_back(std::move(values));
  return list;
}

std::map<std::string, std::string> Parameters::Members(const std::string& prefix) const {
  std::map<std::string, std::string> members;
  for (auto at = values_.lower_bound(prefix); at != values_.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    members[at->first.substr(prefix.size())] = at->second;
  }
  return members;
}

std::string Parameters::Fingerprint(std::string_view except) const {
  std::string text;
  for (const auto& [name, value] : values_) {
    if (name != except) text += fmt::format("{}={}\n", name, value);
  }
  return text;
}

}  // namespace snapstore::localcloud
