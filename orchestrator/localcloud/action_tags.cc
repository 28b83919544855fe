#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"

namespace snapstore::localcloud {
namespace {

constexpr size_t kTagsMax = 50;
constexpr size_t kKeyMax = 128;
constexpr size_t kValueMax = 256;

ApiError CheckIds(const Call& call, const std::vector<std::string>& ids) {
  if (ids.empty()) {
    return {"MissingParameter", "The request must contain the parameter resourceIdSet"};
  }
  for (const std::string& id : ids) {
    const Kind* kind = KindOfId(id);
    if (kind == nullptr) {
      return {"InvalidID", fmt::format("The ID '{}' is not valid", id)};
    }
    API_RETURN_IF_ERROR(Lookup(call.tx, *kind, id).status());
  }
  return {};
}

}  // namespace

ApiResult<Json> CreateTags(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"ResourceId.N", "Tag.N.Key", "Tag.N.Value"}));
  const auto ids = call.p.List("ResourceId");
  API_RETURN_IF_ERROR(CheckIds(call, ids));
  for (const Parameters& tag : call.p.Structures("Tag")) {
    SNAP_ASSIGN_OR_RETURN(const std::string key, tag.Required("Key"));
    if (key.size() > kKeyMax || key.starts_with("aws:") || tag.Text("Value").size() > kValueMax) {
      return InvalidValue(
          fmt::format("Tag keys and values have at most {} and {} characters and do "
                      "not begin with aws: ({})",
                      kKeyMax, kValueMax, key));
    }
    for (const std::string& id : ids) {
      Json& tags = call.tx.Edit(id)["tagSet"];
      if (!tags.is_array()) tags = Json::array();
      const auto found = std::find_if(tags.begin(), tags.end(), [&](const Json& other) {
        return other.value("key", "") == key;
      });
      if (found != tags.end()) {
        (*found)["value"] = tag.Text("Value");
      } else if (tags.size() >= kTagsMax) {
        return ApiError{"TagLimitExceeded",
                        fmt::format("The maximum number of tags for {} has been reached", id)};
      } else {
        tags.push_back({{"key", key}, {"value", tag.Text("Value")}});
      }
    }
  }
  return Done();
}

ApiResult<Json> DeleteTags(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"ResourceId.N", "Tag.N.Key", "Tag.N.Value"}));
  const auto ids = call.p.List("ResourceId");
  API_RETURN_IF_ERROR(CheckIds(call, ids));
  const auto given = call.p.Structures("Tag");
  for (const std::string& id : ids) {
    Json kept = Json::array();
    for (const Json& tag : call.tx.Find(id)->value("tagSet", Json::array())) {
      const bool goes =
          given.empty() || std::any_of(given.begin(), given.end(), [&](const Parameters& p) {
            return p.Text("Key") == tag.value("key", "") &&
                   (!p.Has("Value") || p.Text("Value") == tag.value("value", ""));
          });
      if (!goes) kept.push_back(tag);
    }
    call.tx.Edit(id)["tagSet"] = std::move(kept);
  }
  return Done();
}

ApiResult<Json> DescribeTags(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({LOCALCLOUD_DESCRIBE_PARAMETERS}));
  const FilterTable filters = {{"resource-id", "resourceId"},
                               {"resource-type", "resourceType"},
                               {"key", "key"},
                               {"value", "value"}};
  Json set = Json::array();
  for (const char* prefix :
       {"i-", "vol-", "snap-", "ami-", "eni-", "eipalloc-", "subnet-", "vpc-", "sg-", "sir-"}) {
    for (const std::string& id : call.tx.Ids(prefix)) {
      for (const Json& tag : call.tx.Find(id)->value("tagSet", Json::array())) {
        const Json view = {{"resourceId", id},
                           {"resourceType", KindOfId(id)->tag_type},
                           {"key", tag.at("key")},
                           {"value", tag.at("value")}};
        SNAP_ASSIGN_OR_RETURN(const bool holds, FiltersHold(call.p, filters, view));
        if (holds) set.push_back(view);
      }
    }
  }
  SNAP_ASSIGN_OR_RETURN(const std::string next, CutPage(call.p, &set));
  Json answer = {{"tagSet", std::move(set)}};
  if (!next.empty()) answer["nextToken"] = next;
  return answer;
}

}  // namespace snapstore::localcloud
