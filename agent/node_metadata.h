// NodeMetadata: what an instance is told about itself, by version 2 of the instance metadata
// service; by version 1 only where there is no version 2.
// Source: "Use the Instance Metadata Service to access instance metadata" and "Spot Instance
// interruption notices", EC2 User Guide.
//
// Errors: Timeout or Io: the service does not answer, or not as it should.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_AGENT_NODE_METADATA_H_
#define SNAPSTORE_AGENT_NODE_METADATA_H_

#include <mutex>
#include <optional>
#include <string>

#include "agent/node_report.h"
#include "snapstore/status.h"

namespace snapstore::agent {

inline constexpr const char* kMetadataUrl = "http://169.254.169.254";

class NodeMetadata {
 public:
  // `url`: scheme, host and port.
  explicit NodeMetadata(std::string url) : url_(std::move(url)) {}

  // The text at /latest/meta-data/<name>; nothing: there is no such entry.
  Result<std::optional<std::string>> Get(const std::string& name);

  // That the instance is about to go; nothing: it is not.
  Result<std::optional<NodeNotice>> Interruption();
  // That it should be left; nothing: it need not.
  Result<std::optional<NodeNotice>> Rebalance();

 private:
  Result<std::string> Token(const std::string& refused);

  const std::string url_;
  std::mutex mutex_;  // guards what follows
  std::string token_;
  bool without_token_ = false;  // there is no version 2
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_METADATA_H_
