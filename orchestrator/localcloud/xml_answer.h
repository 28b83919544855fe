// Answers of the query protocol, from resources as they are kept.
//
// A resource is kept as what EC2 says about it: a JSON object whose names are the XML's elements.
// Lists become <item> elements (EC2). Names that begin with '_' are this program's own and are not
// told.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_XML_ANSWER_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_XML_ANSWER_H_

#include <nlohmann/json.hpp>
#include <string>

#include "orchestrator/localcloud/api_error.h"

namespace snapstore::localcloud {

// <{action}Response><requestId>…
std::string Ec2Answer(const std::string& action, const std::string& request_id,
                      const nlohmann::json& body);
std::string Ec2ErrorAnswer(const ApiError& error, const std::string& request_id);
// With the inner {action}Result of the other query services; their lists' elements are <member>.
std::string ServiceAnswer(const std::string& name_space, const std::string& action,
                          const std::string& request_id, const nlohmann::json& body);
std::string ServiceErrorAnswer(const ApiError& error, const std::string& request_id);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_XML_ANSWER_H_
