#include "orchestrator/localcloud/xml_answer.h"

#include <pugixml.hpp>
#include <sstream>

namespace snapstore::localcloud {
namespace {

using Json = nlohmann::json;

void Write(const Json& value, pugi::xml_node node, const char* element) {
  if (value.is_object()) {
    for (const auto& [name, member] : value.items()) {
      if (name.starts_with('_') || member.is_null()) continue;
      Write(member, node.append_child(name.c_str()), element);
    }
  } else if (value.is_array()) {
    for (const Json& item : value) Write(item, node.append_child(element), element);
  } else if (value.is_string()) {
    node.text().set(value.get_ref<const std::string&>().c_str());
  } else {
    node.text().set(value.dump().c_str());
  }
}

std::string Print(const pugi::xml_document& document) {
  std::ostringstream out;
  document.save(out, "", pugi::format_raw);
  return out.str();
}

}  // namespace

std::string Ec2Answer(const std::string& action, const std::string& request_id, const Json& body) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child((action + "Response").c_str());
  root.append_attribute("xmlns") = "http://ec2.amazonaws.com/doc/2016-11-15/";
  root.append_child("requestId").text().set(request_id.c_str());
  Write(body, root, "item");
  return Print(document);
}

std::string Ec2ErrorAnswer(const ApiError& error, const std::string& request_id) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("Response");
  pugi::xml_node node = root.append_child("Errors").append_child("Error");
  node.append_child("Code").text().set(error.code.c_str());
  node.append_child("Message").text().set(error.message.c_str());
  root.append_child("RequestID").text().set(request_id.c_str());
  return Print(document);
}

std::string ServiceAnswer(const std::string& name_space, const std::string& action,
                          const std::string& request_id, const Json& body) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child((action + "Response").c_str());
  root.append_attribute("xmlns") = name_space.c_str();
  Write(body, root.append_child((action + "Result").c_str()), "member");
  root.append_child("ResponseMetadata").append_child("RequestId").text().set(request_id.c_str());
  return Print(document);
}

std::string ServiceErrorAnswer(const ApiError& error, const std::string& request_id) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("ErrorResponse");
  pugi::xml_node node = root.append_child("Error");
  node.append_child("Type").text().set(error.http_status >= 500 ? "Receiver" : "Sender");
  node.append_child("Code").text().set(error.code.c_str());
  node.append_child("Message").text().set(error.message.c_str());
  root.append_child("RequestId").text().set(request_id.c_str());
  return Print(document);
}

}  // namespace snapstore::localcloud
