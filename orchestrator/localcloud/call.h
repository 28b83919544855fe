// What the actions of the EC2 API share: a call at hand, ids, tags, look-ups, Describe calls.
//
// Actions only read and change records, inside the transaction of their call. What has to happen on
// the machine follows from the state they leave ("pending", "creating", "detaching"): workers take
// such records on, also after a restart.
//
// Thread safety: a Call belongs to one thread that holds the cloud's mutex.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_CALL_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_CALL_H_

#include <functional>
#include <string>
#include <vector>

#include "orchestrator/localcloud/filters.h"
#include "orchestrator/localcloud/parameters.h"
#include "orchestrator/localcloud/records.h"

namespace snapstore::localcloud {

// What never changes in a cloud's life.
struct CloudFacts {
  std::string id = {};  // 6 hex digits: part of every name on the machine
  std::string region = {};
  std::string account = {};  // twelve digits
  std::string network = {};  // "10.83": the VPC is 10.83.0.0/16
  std::string vpc_id = {};
  std::string group_id = {};  // default security group
  std::string base_image_id = {};
  std::vector<std::string> subnet_ids = {};  // one a zone, in the order of the zones
};

struct Call {
  const std::string& action;
  const Parameters& p;
  Records::Transaction& tx;
  const CloudFacts& facts;
  // Snapshots whose volumes are to be captured before the call is answered: a snapshot holds what
  // was there when it was asked for.
  std::vector<std::string>* capture;
};

using Action = ApiResult<Json> (*)(Call& call);
// Null when there is no such action.
Action FindAction(const std::string& name);

// "i-" and 17 hex digits.
std::string NewId(const std::string& prefix);
// Now, as the API writes it.
std::string TimeText();

// One kind of resource: what it is called in parameters, errors and answers.
struct Kind {
  std::string_view prefix;        // "vol-"
  std::string_view id_field;      // "volumeId"
  std::string_view id_parameter;  // "VolumeId"
  std::string_view not_found;     // "InvalidVolume.NotFound"
  std::string_view words;         // "The volume '{}' does not exist."
  std::string_view set;           // "volumeSet"
  std::string_view tag_type;      // "volume": of TagSpecification.N.ResourceType
};
extern const Kind kInstances, kVolumes, kSnapshots, kImages, kInterfaces, kAddresses, kSubnets,
    kVpcs, kGroups, kSpotRequests;
// By an id's prefix; null when it is none of these.
const Kind* KindOfId(const std::string& id);

// The record, or the kind's error. Ids that are not of the kind are "….Malformed".
ApiResult<const Json*> Lookup(const Records::Transaction& tx, const Kind& kind,
                              const std::string& id);

// The tags that TagSpecification.N gives to resources of this type.
ApiResult<Json> TagsFor(const Parameters& p, std::string_view type,
                        std::initializer_list<std::string_view> allowed);

// All resources of a kind as the call selects them, by ids, filters and pages; `view` is what is
// told of a record.
ApiResult<Json> Describe(Call& call, const Kind& kind, const FilterTable& table,
                         const std::function<Json(const Json&)>& view = nullptr);
// Parameters that every Describe call takes besides its ids.
#define LOCALCLOUD_DESCRIBE_PARAMETERS \
  "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"
// Of TagSpecification.
#define LOCALCLOUD_TAG_PARAMETERS                                    \
  "TagSpecification.N.ResourceType", "TagSpecification.N.Tag.N.Key", \
      "TagSpecification.N.Tag.N.Value"

// An answer that only says so.
inline ApiResult<Json> Done() { return Json{{"return", "true"}}; }

// Client tokens: the ids that the first call with this token made, or nothing. `kind_name` keeps
// the tokens of different actions apart. IdempotentParameterMismatch when its parameters differ.
ApiResult<Json> FindByToken(const Call& call);
void RememberToken(Call& call, const Json& ids);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_CALL_H_
