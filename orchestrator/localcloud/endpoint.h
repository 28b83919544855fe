// Endpoint: a cloud's HTTP interface: the query APIs of EC2, Elastic Load Balancing and STS (POST
// or GET /), the EBS direct APIs (/snapshots/…), Route 53 (/2013-04-01/…), and what the
// administrator does (/_admin/…, with a bearer token).
//
// Thread safety: the server answers from threads of its own.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_ENDPOINT_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>

#include "orchestrator/localcloud/cloud.h"

namespace snapstore::localcloud {

class Endpoint {
 public:
  // `cloud` must outlive it. Port 0: any. `stop` is called when the administrator says so.
  static Result<std::unique_ptr<Endpoint>> Start(Cloud* cloud, const std::string& host, int port,
                                                 std::string admin_token,
                                                 std::function<void()> stop);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  int port() const;

 private:
  struct Impl;
  explicit Endpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_ENDPOINT_H_
