// What the parts of Ec2Client share: parameters, pages.
//
// Thread safety: none; one object, one thread.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_INTERNAL_EC2_REQUEST_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_INTERNAL_EC2_REQUEST_H_

#include <fmt/format.h>

#include <map>
#include <pugixml.hpp>
#include <string>
#include <vector>

#include "orchestrator/ec2/ec2_client.h"
#include "orchestrator/ec2/ec2_parse.h"

namespace snapstore {

// Collects a request's parameters; what is empty is left out, as the API wants it.
class Ec2Client::Parameters {
 public:
  void Set(const std::string& name, const std::string& value) {
    if (!value.empty()) list_.emplace_back(name, value);
  }
  void Set(const std::string& name, uint64_t value) {
    if (value != 0) list_.emplace_back(name, std::to_string(value));
  }
  void SetBool(const std::string& name, bool value) {
    list_.emplace_back(name, value ? "true" : "false");
  }
  void SetBool(const std::string& name, const std::optional<bool>& value) {
    if (value) SetBool(name, *value);
  }
  void List(const std::string& name, const std::vector<std::string>& values);
  void Tags(const Ec2Tags& tags, const std::string& prefix = "Tag");
  // TagSpecification.N, one a resource type.
  void TagSpecifications(const std::map<std::string, Ec2Tags>& by_type);
  void BlockDevices(const std::vector<Ec2BlockDevice>& devices);
  void Query(const Ec2Query& query, const char* id_name);
  // `token`, or a random one.
  void Token(const std::string& token);

  QueryParameters Take() { return std::move(list_); }

 private:
  QueryParameters list_;
};

// Follows NextToken. `set` is the element with the items; with `inner_set`, each of its items has
// the wanted ones in that element.
template <typename T>
Ec2Result<std::vector<T>> Ec2Client::Pages(const std::string& action,
                                           const QueryParameters& parameters, const char* set,
                                           const char* inner_set) {
  std::vector<T> found;
  std::string token;
  do {
    QueryParameters page = parameters;
    if (!token.empty()) page.emplace_back("NextToken", token);
    Ec2Result<Document> answer = Call(action, std::move(page));
    if (!answer.ok()) return answer.failure();
    const pugi::xml_node root = (*answer)->first_child();
    const pugi::xml_node list = root.child(set);
    if (inner_set == nullptr) {
      for (T& item : ReadEc2Items<T>(list)) found.push_back(std::move(item));
    } else {
      for (const pugi::xml_node outer : list.children("item")) {
        for (T& item : ReadEc2Items<T>(outer.child(inner_set))) found.push_back(std::move(item));
      }
    }
    std::string next = root.child_value("nextToken");
    if (!next.empty() && next == token) {
      return Status::Io(fmt::format("{}: the next page is the same page again", action));
    }
    token = std::move(next);
  } while (!token.empty());
  return found;
}

template <typename T>
Ec2Result<std::vector<T>> Ec2Client::Describe(const std::string& action, const Ec2Query& query,
                                              const char* id_name, const char* set) {
  Parameters parameters;
  parameters.Query(query, id_name);
  return Pages<T>(action, parameters.Take(), set);
}

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_INTERNAL_EC2_REQUEST_H_
