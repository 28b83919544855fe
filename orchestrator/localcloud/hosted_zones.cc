#include "orchestrator/localcloud/hosted_zones.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <pugixml.hpp>
#include <sstream>

#include "base/status_macros.h"
#include "orchestrator/localcloud/call.h"
#include "orchestrator/localcloud/record_sets.h"

namespace snapstore::localcloud {
namespace {

constexpr const char* kZoneKey = "!zone/";
constexpr const char* kNameSpace = "https://route53.amazonaws.com/doc/2013-04-01/";
constexpr const char* kNameServer = "ns-1.localcloud.";
constexpr uint64_t kZonesMax = 100;
constexpr uint64_t kSetsMax = 300;
constexpr size_t kOwnSets = 2;  // NS and SOA

using ZoneAnswer = ApiResult<std::string>;
using Handler = ZoneAnswer (*)(Records::Transaction& tx, const HostedZoneCall& call);

struct Document {
  explicit Document(const std::string& root_name) : root(xml.append_child(root_name.c_str())) {
    root.append_attribute("xmlns") = kNameSpace;
  }
  std::string Text() const {
    std::ostringstream text;
    xml.save(text, "", pugi::format_raw);
    return std::move(text).str();
  }

  pugi::xml_document xml;
  pugi::xml_node root;
};

void Add(pugi::xml_node parent, const char* name, const std::string& value) {
  parent.append_child(name).text().set(value.c_str());
}

std::string UpperId(const char* prefix) {
  std::string id = NewId("");
  std::transform(id.begin(), id.end(), id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return prefix + id;
}

// Done as soon as it is answered.
void AddChangeInfo(pugi::xml_node parent) {
  pugi::xml_node info = parent.append_child("ChangeInfo");
  Add(info, "Id", "/change/" + UpperId("C"));
  Add(info, "Status", "INSYNC");
  Add(info, "SubmittedAt", TimeText());
}

void AddZone(pugi::xml_node parent, const std::string& id, const Json& zone) {
  pugi::xml_node node = parent.append_child("HostedZone");
  Add(node, "Id", "/hostedzone/" + id);
  Add(node, "Name", zone.at("name"));
  Add(node, "CallerReference", zone.at("reference"));
  pugi::xml_node config = node.append_child("Config");
  if (const std::string comment = zone.at("comment"); !comment.empty()) {
    Add(config, "Comment", comment);
  }
  Add(config, "PrivateZone", "false");
  Add(node, "ResourceRecordSetCount", std::to_string(zone.at("sets").size()));
}

void AddSet(pugi::xml_node parent, const Json& set) {
  pugi::xml_node node = parent.append_child("ResourceRecordSet");
  Add(node, "Name", set.at("name"));
  Add(node, "Type", set.at("type"));
  Add(node, "TTL", std::to_string(set.at("ttl").get<uint64_t>()));
  pugi::xml_node records = node.append_child("ResourceRecords");
  for (const std::string value : set.at("values")) {
    Add(records.append_child("ResourceRecord"), "Value", value);
  }
}

ApiResult<const Json*> FindZone(const Records::Transaction& tx, const std::string& id) {
  const Json* zone = tx.Find(kZoneKey + id);
  if (zone != nullptr) return zone;
  return ApiError{"NoSuchHostedZone", fmt::format("No hosted zone found with ID: {}", id), 404};
}

// The root of a body, which must have this name.
ApiResult<pugi::xml_node> RootOf(const pugi::xml_document& document, bool parsed,
                                 const char* name) {
  const pugi::xml_node root = document.document_element();
  if (parsed && std::string_view(root.name()) == name) return root;
  return ApiError{"InvalidInput", fmt::format("the body must be XML, a {}", name)};
}

ApiResult<uint64_t> PageSize(const HostedZoneCall& call, uint64_t most) {
  SNAP_ASSIGN_OR_RETURN(const uint64_t size, call.query.Number("maxitems", most));
  if (size == 0) return ApiError{"InvalidInput", "maxitems must be at least 1"};
  return std::min(size, most);
}

Json SetOf(const std::string& name, const char* type, uint64_t ttl, const std::string& value) {
  return {{"name", name}, {"type", type}, {"ttl", ttl}, {"values", Json::array({value})}};
}

ZoneAnswer CreateHostedZone(Records::Transaction& tx, const HostedZoneCall& call) {
  pugi::xml_document body;
  const bool parsed = body.load_buffer(call.body.data(), call.body.size());
  SNAP_ASSIGN_OR_RETURN(const pugi::xml_node root, RootOf(body, parsed, "CreateHostedZoneRequest"));
  for (const pugi::xml_node child : root.children()) {
    const std::string_view name = child.name();
    if (name == "Name" || name == "CallerReference" || name == "HostedZoneConfig") continue;
    return ApiError{"InvalidInput", fmt::format("{} is not supported here", name)};
  }
  const std::string name = CanonicalName(root.child_value("Name"));
  const std::string reference = root.child_value("CallerReference");
  if (name.empty()) {
    return ApiError{"InvalidDomainName",
                    fmt::format("'{}' is no domain name", root.child_value("Name"))};
  }
  if (reference.empty()) return ApiError{"InvalidInput", "CallerReference is missing"};
  const pugi::xml_node config = root.child("HostedZoneConfig");
  if (config.child("PrivateZone").text().as_bool()) {
    return ApiError{"InvalidInput", "private zones are not supported here"};
  }
  for (const std::string& key : tx.Ids(kZoneKey)) {
    if (tx.Find(key)->at("reference") != reference) continue;
    return ApiError{"HostedZoneAlreadyExists",
                    "A hosted zone has already been created with the specified caller reference.",
                    409};
  }
  const std::string id = UpperId("Z");
  const std::string server = kNameServer;
  Json& zone = tx.Edit(kZoneKey + id);
  zone = {{"name", name},
          {"reference", reference},
          {"comment", config.child_value("Comment")},
          {"sets",
           {{SetKey(name, "NS"), SetOf(name, "NS", 172'800, server)},
            {SetKey(name, "SOA"),
             SetOf(name, "SOA", 900,
                   server + " awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400")}}}};
  Document answer("CreateHostedZoneResponse");
  AddZone(answer.root, id, zone);
  AddChangeInfo(answer.root);
  Add(answer.root.append_child("DelegationSet").append_child("NameServers"), "NameServer",
      server.substr(0, server.size() - 1));
  return answer.Text();
}

ZoneAnswer ListHostedZones(Records::Transaction& tx, const HostedZoneCall& call) {
  API_RETURN_IF_ERROR(call.query.Check({"marker", "maxitems"}));
  SNAP_ASSIGN_OR_RETURN(const uint64_t most, PageSize(call, kZonesMax));
  const std::string marker = call.query.Text("marker");
  Document answer("ListHostedZonesResponse");
  pugi::xml_node zones = answer.root.append_child("HostedZones");
  uint64_t count = 0;
  std::string next;
  for (const std::string& key : tx.Ids(kZoneKey)) {
    const std::string id = key.substr(std::string_view(kZoneKey).size());
    if (id < marker) continue;
    if (count++ == most) {
      next = id;
      break;
    }
    AddZone(zones, id, *tx.Find(key));
  }
  if (!marker.empty()) Add(answer.root, "Marker", marker);
  Add(answer.root, "IsTruncated", next.empty() ? "false" : "true");
  if (!next.empty()) Add(answer.root, "NextMarker", next);
  Add(answer.root, "MaxItems", std::to_string(most));
  return answer.Text();
}

ZoneAnswer DeleteHostedZone(Records::Transaction& tx, const HostedZoneCall& call) {
  SNAP_ASSIGN_OR_RETURN(const Json* zone, FindZone(tx, call.zone_id));
  if (zone->at("sets").size() > kOwnSets) {
    return ApiError{"HostedZoneNotEmpty",
                    "The specified hosted zone contains non-required resource record sets and so "
                    "cannot be deleted."};
  }
  tx.Remove(kZoneKey + call.zone_id);
  Document answer("DeleteHostedZoneResponse");
  AddChangeInfo(answer.root);
  return answer.Text();
}

ZoneAnswer ChangeResourceRecordSets(Records::Transaction& tx, const HostedZoneCall& call) {
  SNAP_ASSIGN_OR_RETURN(const Json* zone, FindZone(tx, call.zone_id));
  pugi::xml_document body;
  const bool parsed = body.load_buffer(call.body.data(), call.body.size());
  SNAP_ASSIGN_OR_RETURN(const pugi::xml_node root,
                        RootOf(body, parsed, "ChangeResourceRecordSetsRequest"));
  Json sets = zone->at("sets");
  API_RETURN_IF_ERROR(ChangeSets(zone->at("name"), root.child("ChangeBatch"), &sets));
  tx.Edit(kZoneKey + call.zone_id)["sets"] = std::move(sets);
  Document answer("ChangeResourceRecordSetsResponse");
  AddChangeInfo(answer.root);
  return answer.Text();
}

ZoneAnswer ListResourceRecordSets(Records::Transaction& tx, const HostedZoneCall& call) {
  SNAP_ASSIGN_OR_RETURN(const Json* zone, FindZone(tx, call.zone_id));
  API_RETURN_IF_ERROR(call.query.Check({"name", "type", "identifier", "maxitems"}));
  SNAP_ASSIGN_OR_RETURN(const uint64_t most, PageSize(call, kSetsMax));
  std::string from;
  if (call.query.Has("name")) {
    const std::string name = CanonicalName(call.query.Text("name"));
    if (name.empty()) {
      return ApiError{"InvalidInput",
                      fmt::format("'{}' is no domain name", call.query.Text("name"))};
    }
    from = SetKey(name, call.query.Text("type"));
  } else if (call.query.Has("type")) {
    return ApiError{"InvalidInput", "type needs a name"};
  }
  Document answer("ListResourceRecordSetsResponse");
  pugi::xml_node sets = answer.root.append_child("ResourceRecordSets");
  uint64_t count = 0;
  const Json* next = nullptr;
  for (const auto& [key, set] : zone->at("sets").items()) {
    if (key < from) continue;
    if (count++ == most) {
      next = &set;
      break;
    }
    AddSet(sets, set);
  }
  Add(answer.root, "IsTruncated", next == nullptr ? "false" : "true");
  if (next != nullptr) {
    Add(answer.root, "NextRecordName", next->at("name"));
    Add(answer.root, "NextRecordType", next->at("type"));
  }
  Add(answer.root, "MaxItems", std::to_string(most));
  return answer.Text();
}

#define LOCALCLOUD_HANDLER(name) std::pair<std::string_view, Handler>(#name, name)
constexpr std::array kHandlers = {
    LOCALCLOUD_HANDLER(CreateHostedZone), LOCALCLOUD_HANDLER(ListHostedZones),
    LOCALCLOUD_HANDLER(DeleteHostedZone), LOCALCLOUD_HANDLER(ChangeResourceRecordSets),
    LOCALCLOUD_HANDLER(ListResourceRecordSets)};
#undef LOCALCLOUD_HANDLER

auto FindHandler(const std::string& action) {
  return std::find_if(kHandlers.begin(), kHandlers.end(),
                      [&action](const auto& each) { return each.first == action; });
}

}  // namespace

bool IsHostedZoneAction(const std::string& action) {
  return FindHandler(action) != kHandlers.end();
}

ApiResult<std::string> AnswerHostedZoneCall(Records::Transaction& tx, const HostedZoneCall& call) {
  return FindHandler(call.action)->second(tx, call);
}

}  // namespace snapstore::localcloud
