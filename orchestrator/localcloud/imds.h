// ImdsServer: the metadata service of one instance, on 169.254.169.254 in its network namespace.
// Version 2, and version 1 where the instance's options leave tokens optional.
// Source: "Use the Instance Metadata Service to access instance metadata", EC2 User Guide.
//
// Thread safety: the server answers from threads of its own.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_IMDS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_IMDS_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "snapstore/status.h"

namespace snapstore::localcloud {

// What there is to tell at one moment.
struct ImdsView {
  std::map<std::string, std::string> entries = {};  // "/latest/meta-data/instance-id" -> "i-…"
  bool tokens_required = false;
};

class ImdsServer {
 public:
  // `view` is asked for each request. `hop_limit`: of packets, as HttpPutResponseHopLimit.
  static Result<std::unique_ptr<ImdsServer>> Start(pid_t pid, int hop_limit,
                                                   std::function<ImdsView()> view);
  ~ImdsServer();
  ImdsServer(const ImdsServer&) = delete;
  ImdsServer& operator=(const ImdsServer&) = delete;

 private:
  struct Impl;
  explicit ImdsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The answer to GET `path`: an entry, or the list of what is below it. Empty: there is no such one.
std::string ImdsAnswer(const ImdsView& view, std::string path);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_IMDS_H_
