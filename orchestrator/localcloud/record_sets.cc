#include "orchestrator/localcloud/record_sets.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <pugixml.hpp>
#include <vector>

#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr size_t kNameMax = 255;
constexpr size_t kLabelMax = 63;
constexpr uint64_t kTtlMax = 2'147'483'647;
constexpr std::array<std::string_view, 9> kRecordTypes = {"A",  "AAAA", "CAA", "CNAME", "MX",
                                                          "NS", "PTR",  "SRV", "TXT"};

bool IsUsual(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

// The character at the beginning, escaped or not, and how long it is written.
std::pair<char, size_t> FirstOf(std::string_view name) {
  constexpr size_t kEscape = 4;  // a backslash and three octal digits
  if (name.front() == '\\' && name.size() >= kEscape &&
      name.substr(1, 3).find_first_not_of("01234567") == name.npos) {
    return {static_cast<char>((name[1] - '0') * 64 + (name[2] - '0') * 8 + (name[3] - '0')),
            kEscape};
  }
  return {name.front(), 1};
}

std::string Described(const Json& set) {
  return fmt::format("[name='{}', type='{}']", set.at("name").get<std::string>(),
                     set.at("type").get<std::string>());
}

// What is wrong with a value; empty: nothing.
std::string ProblemOf(const std::string& type, const std::string& value) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  const auto fatal = [&value](const char* code, const char* text) {
    return fmt::format("Invalid Resource Record: 'FATAL problem: {} ({}) encountered with '{}''",
                       code, text, value);
  };
  if (type == "A" && inet_pton(AF_INET, value.c_str(), address.data()) != 1) {
    return fatal("ARRDATAIllegalIPv4Address", "Value is not a valid IPv4 address");
  }
  if (type == "AAAA" && inet_pton(AF_INET6, value.c_str(), address.data()) != 1) {
    return fatal("AAAARRDATAIllegalIPv6Address", "Value is not a valid IPv6 address");
  }
  if (type == "CNAME" && CanonicalName(value).empty()) {
    return fatal("DomainLabelEmpty", "Value is not a domain name");
  }
  return "";
}

// What is wrong with a set in its zone.
std::string ProblemOf(const std::string& zone, const Json& set) {
  const std::string name = set.at("name");
  const std::string type = set.at("type");
  if (name != zone && !name.ends_with("." + zone)) {
    return fmt::format("RRSet with DNS name {} is not permitted in zone {}", name, zone);
  }
  if (type == "CNAME" && name == zone) {
    return fmt::format("RRSet of type CNAME with DNS name {} is not permitted at apex in zone {}",
                       name, zone);
  }
  if (type == "CNAME" && set.at("values").size() > 1) {
    return fmt::format("RRSet of type CNAME with DNS name {} has more than one value", name);
  }
  for (const std::string value : set.at("values")) {
    std::string problem = ProblemOf(type, value);
    if (!problem.empty()) return problem;
  }
  return "";
}

// A CNAME is alone at its name.
std::string Conflict(const std::string& zone, const Json& set, const Json& sets) {
  const bool alias = set.at("type") == "CNAME";
  for (const auto& [key, other] : sets.items()) {
    if (other.at("name") != set.at("name") || other.at("type") == set.at("type")) continue;
    if (!alias && other.at("type") != "CNAME") continue;
    return fmt::format(
        "RRSet of type {} with DNS name {} is not permitted as it conflicts with other records "
        "with the same DNS name in zone {}",
        set.at("type").get<std::string>(), set.at("name").get<std::string>(), zone);
  }
  return "";
}

ApiResult<Json> ReadSet(const pugi::xml_node& node) {
  const auto invalid = [](std::string message) {
    return ApiError{"InvalidInput", std::move(message)};
  };
  for (const pugi::xml_node child : node.children()) {
    const std::string_view name = child.name();
    if (name == "Name" || name == "Type" || name == "TTL" || name == "ResourceRecords") continue;
    return invalid(fmt::format("{} of a ResourceRecordSet is not supported here", name));
  }
  const std::string name = CanonicalName(node.child_value("Name"));
  if (name.empty()) {
    return invalid(fmt::format("'{}' is no domain name", node.child_value("Name")));
  }
  const std::string type = node.child_value("Type");
  // SOA is there from the beginning, for deletions to name it.
  if (type != "SOA" &&
      std::find(kRecordTypes.begin(), kRecordTypes.end(), type) == kRecordTypes.end()) {
    return invalid(fmt::format("'{}' is no type of records that is supported here", type));
  }
  const std::string ttl = node.child_value("TTL");
  const uint64_t seconds = node.child("TTL").text().as_ullong();
  if (ttl.empty() || ttl.find_first_not_of("0123456789") != ttl.npos || seconds > kTtlMax) {
    return invalid(fmt::format("TTL '{}' must be a number from 0 to {}", ttl, kTtlMax));
  }
  Json values = Json::array();
  for (const pugi::xml_node record : node.child("ResourceRecords").children("ResourceRecord")) {
    values.push_back(record.child_value("Value"));
  }
  if (values.empty()) return invalid(fmt::format("{}: a ResourceRecord is missing", name));
  std::sort(values.begin(), values.end());
  return Json{{"name", name}, {"type", type}, {"ttl", seconds}, {"values", values}};
}

// One change; what is wrong with it, empty: nothing.
std::string Apply(const std::string& zone, const std::string& action, const Json& set, Json* sets) {
  const std::string key = SetKey(set.at("name"), set.at("type"));
  const auto known = sets->find(key);
  if (action == "DELETE") {
    if (known == sets->end()) {
      return fmt::format("Tried to delete resource record set {} but it was not found",
                         Described(set));
    }
    if (*known != set) {
      return fmt::format(
          "Tried to delete resource record set {} but the values provided do not match the current "
          "values",
          Described(set));
    }
    if (set.at("name") == zone && set.at("type") == "NS") {
      return "A HostedZone must contain at least one NS record for the zone itself.";
    }
    if (set.at("type") == "SOA") return "A HostedZone must contain exactly one SOA record.";
    sets->erase(key);
    return "";
  }
  if (action == "CREATE" && known != sets->end()) {
    return fmt::format("Tried to create resource record set {} but it already exists",
                       Described(set));
  }
  std::string problem = ProblemOf(zone, set);
  if (problem.empty()) problem = Conflict(zone, set, *sets);
  if (problem.empty()) (*sets)[key] = set;
  return problem;
}

}  // namespace

std::string CanonicalName(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string canonical;
  size_t label = 0;
  size_t characters = 0;
  while (!name.empty()) {
    const bool dot = name.front() == '.';
    if (dot ? label == 0 : ++label > kLabelMax) return "";
    const auto [c, written] = FirstOf(name);
    if (dot) {
      label = 0;
      canonical += '.';
    } else if (IsUsual(c)) {
      canonical += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else {
      canonical += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    }
    ++characters;
    name.remove_prefix(written);
  }
  return label == 0 || characters >= kNameMax ? "" : canonical + ".";
}

std::string SetKey(const std::string& canonical_name, const std::string& type) {
  std::string_view rest = canonical_name;
  if (!rest.empty()) rest.remove_suffix(1);
  std::string key;
  while (true) {
    const size_t dot = rest.rfind('.');
    if (!key.empty()) key += ' ';
    key += rest.substr(dot == rest.npos ? 0 : dot + 1);
    if (dot == rest.npos) return key + '\t' + type;
    rest = rest.substr(0, dot);
  }
}

ApiError ChangeSets(const std::string& zone_name, const pugi::xml_node& batch, Json* sets) {
  Json changed = *sets;
  std::vector<std::string> problems;
  size_t count = 0;
  for (const pugi::xml_node change : batch.child("Changes").children("Change")) {
    const std::string action = change.child_value("Action");
    if (action != "CREATE" && action != "DELETE" && action != "UPSERT") {
      return {"InvalidInput", fmt::format("Action '{}' must be CREATE, DELETE or UPSERT", action)};
    }
    SNAP_ASSIGN_OR_RETURN(const Json set, ReadSet(change.child("ResourceRecordSet")));
    std::string problem = Apply(zone_name, action, set, &changed);
    if (!problem.empty()) problems.push_back(std::move(problem));
    ++count;
  }
  if (count == 0) return {"InvalidInput", "ChangeBatch has no Change"};
  if (!problems.empty()) {
    return {"InvalidChangeBatch", fmt::format("[{}]", fmt::join(problems, ", "))};
  }
  *sets = std::move(changed);
  return {};
}

}  // namespace snapstore::localcloud
