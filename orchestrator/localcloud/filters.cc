#include "orchestrator/localcloud/filters.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <charconv>

#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr uint64_t kPageMin = 5;
constexpr uint64_t kPageMax = 1000;
constexpr std::string_view kTokenPrefix = "page-";

void Collect(const Json& value, std::string_view path, std::vector<std::string>* out) {
  if (path.empty()) {
    if (value.is_string()) {
      out->push_back(value.get<std::string>());
    } else if (!value.is_null()) {
      out->push_back(value.dump());
    }
    return;
  }
  const size_t dot = std::min(path.find('.'), path.size());
  const std::string_view part = path.substr(0, dot);
  const std::string_view rest = dot == path.size() ? std::string_view() : path.substr(dot + 1);
  if (part == "*") {
    if (!value.is_array()) return;
    for (const Json& item : value) Collect(item, rest, out);
  } else if (value.is_object()) {
    const auto found = value.find(std::string(part));
    if (found != value.end()) Collect(*found, rest, out);
  }
}

// What a filter is compared with; nothing when there is no such filter.
std::optional<std::vector<std::string>> Compared(const std::string& name, const FilterTable& table,
                                                 const Json& record) {
  if (name.starts_with("tag:")) {
    std::vector<std::string> values;
    for (const Json& tag : record.value("tagSet", Json::array())) {
      if (tag.value("key", "") == name.substr(4)) values.push_back(tag.value("value", ""));
    }
    return values;
  }
  if (name == "tag-key") return ValuesAt(record, "tagSet.*.key");
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  if (found == table.end()) return std::nullopt;
  return ValuesAt(record, found->second);
}

}  // namespace

std::vector<std::string> ValuesAt(const Json& record, std::string_view path) {
  std::vector<std::string> values;
  Collect(record, path, &values);
  return values;
}

ApiResult<bool> FiltersHold(const Parameters& parameters, const FilterTable& table,
                            const Json& record) {
  bool all = true;
  for (const Parameters& filter : parameters.Structures("Filter")) {
    const std::string name = filter.Text("Name");
    const auto values = Compared(name, table, record);
    if (!values) {
      return InvalidValue(fmt::format("The filter '{}' is invalid", name));
    }
    const std::vector<std::string> wanted = filter.List("Value");
    const bool holds = std::any_of(values->begin(), values->end(), [&](const std::string& value) {
      return std::any_of(wanted.begin(), wanted.end(), [&](const std::string& pattern) {
        return fnmatch(pattern.c_str(), value.c_str(), 0) == 0;
      });
    });
    all = all && holds;
  }
  return all;
}

ApiResult<std::string> CutPage(const Parameters& parameters, Json* items) {
  SNAP_ASSIGN_OR_RETURN(const uint64_t most, parameters.Number("MaxResults", 0));
  if (parameters.Has("MaxResults") && (most < kPageMin || most > kPageMax)) {
    return InvalidValue(
        fmt::format("Value ({}) for parameter maxResults is invalid. Expecting a value "
                    "from {} to {}.",
                    most, kPageMin, kPageMax));
  }
  uint64_t begin = 0;
  const std::string token = parameters.Text("NextToken");
  if (!token.empty()) {
    const char* first = token.data() + kTokenPrefix.size();
    const char* last = token.data() + token.size();
    const bool ours = token.starts_with(kTokenPrefix);
    if (!ours || std::from_chars(first, last, begin).ptr != last || begin > items->size()) {
      return ApiError{"InvalidNextToken", "The token in the request is not valid"};
    }
  }
  const uint64_t end = most == 0 ? items->size() : std::min<uint64_t>(items->size(), begin + most);
  const bool more = end < items->size();
  *items = Json(Json::array_t(items->begin() + static_cast<std::ptrdiff_t>(begin),
                              items->begin() + static_cast<std::ptrdiff_t>(end)));
  return more ? fmt::format("{}{}", kTokenPrefix, end) : std::string();
}

}  // namespace snapstore::localcloud
