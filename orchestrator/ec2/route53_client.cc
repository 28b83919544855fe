#include "orchestrator/ec2/route53_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <pugixml.hpp>
#include <sstream>

#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kAnswerMax = 4 << 20;
constexpr const char* kNameSpace = "https://route53.amazonaws.com/doc/2013-04-01/";

// "/hostedzone/Z1", as answers have it, is "Z1".
std::string PathOf(const std::string& zone_id) {
  return fmt::format("/2013-04-01/hostedzone/{}/rrset",
                     PercentEncode(zone_id.substr(zone_id.rfind('/') + 1)));
}

// "\052.Example.com." -> "*.example.com".
std::string PlainName(std::string_view name) {
  constexpr size_t kEscape = 4;  // a backslash and three octal digits
  std::string plain;
  while (!name.empty()) {
    if (name.front() == '\\' && name.size() >= kEscape &&
        name.substr(1, 3).find_first_not_of("01234567") == name.npos) {
      plain += static_cast<char>((name[1] - '0') * 64 + (name[2] - '0') * 8 + (name[3] - '0'));
      name.remove_prefix(kEscape);
      continue;
    }
    plain += static_cast<char>(std::tolower(static_cast<unsigned char>(name.front())));
    name.remove_prefix(1);
  }
  if (plain.ends_with('.')) plain.pop_back();
  return plain;
}

std::string ChangeXml(const char* action, const std::string& name, const std::string& type,
                      const std::string& value, int64_t ttl_seconds) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("ChangeResourceRecordSetsRequest");
  root.append_attribute("xmlns") = kNameSpace;
  pugi::xml_node change =
      root.append_child("ChangeBatch").append_child("Changes").append_child("Change");
  change.append_child("Action").text().set(action);
  pugi::xml_node set = change.append_child("ResourceRecordSet");
  set.append_child("Name").text().set(name.c_str());
  set.append_child("Type").text().set(type.c_str());
  set.append_child("TTL").text().set(static_cast<long long>(ttl_seconds));
  set.append_child("ResourceRecords")
      .append_child("ResourceRecord")
      .append_child("Value")
      .text()
      .set(value.c_str());
  std::ostringstream text;
  document.save(text, "", pugi::format_raw);
  return std::move(text).str();
}

Route53Record RecordOf(const pugi::xml_node& set) {
  Route53Record record{.name = PlainName(set.child_value("Name")),
                       .type = set.child_value("Type"),
                       .ttl_seconds = set.child("TTL").text().as_llong()};
  for (const pugi::xml_node value : set.child("ResourceRecords").children("ResourceRecord")) {
    record.values.emplace_back(value.child_value("Value"));
  }
  return record;
}

// What InvalidChangeBatch says of a deletion, in words only.
void TellDeletions(AwsFailure* failure) {
  const auto says = [failure](std::string_view words) {
    return failure->code == "InvalidChangeBatch" &&
           failure->message.find(words) != std::string::npos;
  };
  StatusCode code = failure->status.code();
  if (says("but it was not found")) code = StatusCode::kNotFound;
  if (says("do not match the current values")) code = StatusCode::kConflict;
  failure->status = Status(code, failure->status.message());
}

}  // namespace

Route53Client::Route53Client(const AwsServiceOptions& options,
                             std::shared_ptr<AwsCredentialChain> credentials)
    : caller_(options, std::move(credentials)) {}

Result<std::unique_ptr<Route53Client>> Route53Client::FromEnvironment(
    const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials,
    std::function<bool()> cancelled) {
  // Source: botocore's endpoints.json, "route53" of the three partitions.
  AwsServiceOptions options;
  options.service = "route53";
  options.region = "us-east-1";
  std::string host = "route53.amazonaws.com";
  const std::string region = environment.Region();
  if (region.starts_with("cn-")) {
    options.region = "cn-northwest-1";
    host = "route53.amazonaws.com.cn";
  } else if (region.starts_with("us-gov-")) {
    options.region = "us-gov-west-1";
    host = "route53.us-gov.amazonaws.com";
  }
  options.endpoint = environment.Endpoint("ROUTE_53");
  if (options.endpoint.empty()) options.endpoint = "https://" + host;
  SNAP_RETURN_IF_ERROR(
      ParseUrl(options.endpoint).status().WithContext("AWS_ENDPOINT_URL_ROUTE_53"));
  options.ca_file = environment.CaBundle();
  options.cancelled = std::move(cancelled);
  return std::make_unique<Route53Client>(options, std::move(credentials));
}

Ec2Result<AwsReceipt> Route53Client::ChangeRecord(const std::string& zone_id, Route53Change change,
                                                  const std::string& name, const std::string& type,
                                                  const std::string& value, int64_t ttl_seconds) {
  const bool deletes = change == Route53Change::kDelete;
  // Also a deletion may be sent twice: what the second finds missing is what was asked for.
  auto answer =
      caller_.PostXml(PathOf(zone_id) + "/",
                      ChangeXml(deletes ? "DELETE" : "UPSERT", name, type, value, ttl_seconds),
                      AwsCaller::Repeat::kSafe);
  if (answer.ok())
    return AwsReceipt{(*answer)->first_child().child("ChangeInfo").child_value("Id")};
  AwsFailure failure = answer.failure();
  if (deletes) TellDeletions(&failure);
  return failure;
}

Ec2Result<std::vector<Route53Record>> Route53Client::ListRecords(const std::string& zone_id,
                                                                 const std::string& name,
                                                                 const std::string& type) {
  const std::string wanted = PlainName(name);
  std::vector<Route53Record> records;
  QueryParameters query;
  // Begins there, and goes on with what follows.
  if (!name.empty()) query.emplace_back("name", name);
  if (!name.empty() && !type.empty()) query.emplace_back("type", type);
  while (true) {
    auto answer = caller_.Get(PathOf(zone_id), query, kAnswerMax);
    if (!answer.ok()) return answer.failure();
    pugi::xml_document document;
    if (!document.load_buffer(answer->body.data(), answer->body.size())) {
      return Status::Io("ListResourceRecordSets: the answer is no XML");
    }
    const pugi::xml_node root = document.first_child();
    for (const pugi::xml_node set : root.child("ResourceRecordSets").children()) {
      Route53Record record = RecordOf(set);
      if (!wanted.empty() && record.name != wanted) return records;
      if (type.empty() || record.type == type) records.push_back(std::move(record));
    }
    QueryParameters next = {{"name", root.child_value("NextRecordName")},
                            {"type", root.child_value("NextRecordType")}};
    const std::string identifier = root.child_value("NextRecordIdentifier");
    if (!identifier.empty()) next.emplace_back("identifier", identifier);
    if (!root.child("IsTruncated").text().as_bool()) return records;
    if (next == query) return Status::Io("ListResourceRecordSets: a page is its own next one");
    query = std::move(next);
  }
}

}  // namespace snapstore
