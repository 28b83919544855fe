// Record sets of a hosted zone, as a JSON object by their order: {"com example www\tA": {"name":
// "www.example.com.", "type": "A", "ttl": 60, "values": ["10.0.0.1"]}}, and changes to them.
// Source: "ChangeResourceRecordSets" and "DNS domain name format", Amazon Route 53 API Reference
// and Developer Guide.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RECORD_SETS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RECORD_SETS_H_

#include <string>
#include <string_view>

#include "orchestrator/localcloud/api_error.h"
#include "orchestrator/localcloud/records.h"

namespace pugi {
class xml_node;
}

namespace snapstore::localcloud {

// In lower case, with a dot at its end, and what is not usual in names as "\052". Empty when it is
// no name.
std::string CanonicalName(std::string_view name);
// Names are in the order of their labels from the last one on.
std::string SetKey(const std::string& canonical_name, const std::string& type);

// All changes of <ChangeBatch>, or none: InvalidChangeBatch lists what is wrong with which,
// InvalidInput says what is not understood.
ApiError ChangeSets(const std::string& zone_name, const pugi::xml_node& batch, Json* sets);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RECORD_SETS_H_
