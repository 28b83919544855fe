// Route53Api: records of hosted zones, as far as a node's names are kept in them: the interface.
// Source: Amazon Route 53 API Reference, 2013-04-01.
//
// Names are those of DNS, with or without the dot at their end; a change is visible to resolvers
// some time after it was answered.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_ROUTE53_API_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_ROUTE53_API_H_

#include <cstdint>
#include <string>
#include <vector>

#include "orchestrator/ec2/aws_error.h"

namespace snapstore {

struct Route53Record {
  std::string name = {};  // in lower case, without the dot at the end
  std::string type = {};  // "A"
  int64_t ttl_seconds = 0;
  std::vector<std::string> values = {};  // none: an alias
};

enum class Route53Change { kUpsert, kDelete };

class Route53Api {
 public:
  virtual ~Route53Api() = default;

  // `type`: A or CNAME. A deletion names what is there, value and time to live included: NotFound
  // when there is no such record, Conflict when it has other values.
  virtual Ec2Result<AwsReceipt> ChangeRecord(const std::string& zone_id, Route53Change change,
                                             const std::string& name, const std::string& type,
                                             const std::string& value, int64_t ttl_seconds) = 0;
  // Of this name and type; an empty one stands for all.
  virtual Ec2Result<std::vector<Route53Record>> ListRecords(const std::string& zone_id,
                                                            const std::string& name,
                                                            const std::string& type) = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_ROUTE53_API_H_
