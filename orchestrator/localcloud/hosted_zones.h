// Hosted zones of Route 53, version 2013-04-01, and the records in them: kept and told; no server
// answers DNS from them. Source: Amazon Route 53 API Reference.
//
// Thread safety: free functions; the cloud's mutex guards the records.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_HOSTED_ZONES_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_HOSTED_ZONES_H_

#include <string>

#include "orchestrator/localcloud/parameters.h"
#include "orchestrator/localcloud/records.h"

namespace snapstore::localcloud {

struct HostedZoneCall {
  std::string action = {};   // "ListResourceRecordSets"
  std::string zone_id = {};  // "Z1", if the call's path names a zone
  Parameters query = {};
  std::string body = {};  // XML
};

bool IsHostedZoneAction(const std::string& action);

// The answer's XML. Errors as Route 53 words them; what of a call is not understood is refused with
// its name. REQUIRES: IsHostedZoneAction(call.action).
ApiResult<std::string> AnswerHostedZoneCall(Records::Transaction& tx, const HostedZoneCall& call);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_HOSTED_ZONES_H_
