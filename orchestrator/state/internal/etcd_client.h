// EtcdClient: one call of etcd's HTTP/JSON gateway at a time. Private to the folder.
//
// The gateway's messages are protobuf's JSON form (etcd's rpc.proto): bytes are base64, 64-bit
// numbers are strings, and members of value zero are left out.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_ETCD_CLIENT_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_ETCD_CLIENT_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "orchestrator/state/etcd_state_store.h"
#include "uploader/http/http_client.h"

namespace snapstore::spot {

// A number the gateway wrote as a string, or left out (0).
uint64_t EtcdNumber(const nlohmann::json& object, const char* member);
std::string EtcdBytes(const nlohmann::json& object, const char* member);
// The first key after all that begin with `prefix`.
std::string PrefixEnd(std::string prefix);

class EtcdClient {
 public:
  explicit EtcdClient(const EtcdOptions& options);

  // POST of `request` to "/v3/…". A call that may happen twice is tried at every endpoint, others
  // at one.
  Result<nlohmann::json> Call(const std::string& path, const nlohmann::json& request,
                              bool may_repeat);

  // A streaming call: its first message that `wanted` accepts; null when there was none in time.
  // Io: no endpoint keeps the stream up.
  Result<nlohmann::json> FirstOf(const std::string& path, const nlohmann::json& request,
                                 std::chrono::milliseconds timeout,
                                 const std::function<bool(const nlohmann::json&)>& wanted);

 private:
  Result<nlohmann::json> FirstOfStream(const std::string& endpoint, const std::string& path,
                                       const std::string& body,
                                       std::chrono::steady_clock::time_point deadline,
                                       const std::function<bool(const nlohmann::json&)>& wanted);

  const EtcdOptions options_;
  HttpClient http_;
  std::atomic<size_t> preferred_{0};  // the endpoint that answered last
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_ETCD_CLIENT_H_
