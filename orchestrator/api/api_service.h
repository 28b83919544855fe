// ApiService: the Spot API without its transport: a request in, an answer out.
//
// Every wish is stored (ControllerState) before it is answered; carrying it out is the
// life-cycle's. The calls, fields and error codes are documented in docs/controller.md.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_API_API_SERVICE_H_
#define SNAPSTORE_ORCHESTRATOR_API_API_SERVICE_H_

#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/api/envelope.h"
#include "orchestrator/api/node_texts.h"
#include "orchestrator/api/rate_limit.h"
#include "orchestrator/state/controller_state.h"

namespace snapstore::spot {

struct ApiOptions {
  // Per account, method and route, of heartbeats also per instance; 0: no limit.
  size_t calls_per_minute = 1200;
  size_t body_bytes_max = 1 << 20;
  int64_t agent_silence_ms = 120'000;  // after which an agent is not healthy
  std::string region = {};             // the only one that is worked in; empty: not known
};

class ApiService {
 public:
  // `state` must outlive it.
  ApiService(ControllerState* state, const ApiOptions& options);

  ApiResponse Handle(const ApiRequest& request);
  // For what the transport refuses before a request is complete.
  static ApiResponse Refuse(const ApiRequest& request, int status, const std::string& code,
                            const std::string& message);

  const ApiOptions& options() const { return options_; }

 private:
  // One call on its way through the handlers.
  struct Call {
    const ApiRequest& request;
    std::string account;
    std::vector<std::string> ids;  // what stood at the '*' of the route
    Json body;                     // null: none
  };
  using Handler = ApiReply (ApiService::*)(const Call&);
  struct Route {
    const char* method;
    const char* pattern;  // segments; '*' matches any one
    Handler handler;
    bool reads_body;
    // What of the body says who in the account calls, if they are counted one by one.
    std::string (*caller_of)(const Json& body) = nullptr;
  };
  static const std::vector<Route>& Routes();
  static const Route* FindRoute(const ApiRequest& request, std::vector<std::string>* ids);

  ApiReply Dispatch(const ApiRequest& request, ApiResponse* response);
  // The account the call is about, or why there is none.
  ApiReply Authorize(const ApiRequest& request, std::string* account);
  static ApiReply ReadBody(const ApiRequest& request, Json* body);

  ApiReply CreateConfig(const Call& call);
  ApiReply ListConfigs(const Call& call);
  ApiReply GetConfig(const Call& call);
  ApiReply UpdateConfig(const Call& call);
  ApiReply DeleteConfig(const Call& call);

  ApiReply CreateNode(const Call& call);
  ApiReply ListNodes(const Call& call);
  ApiReply GetNode(const Call& call);
  ApiReply UpdateNode(const Call& call);
  ApiReply DeleteNode(const Call& call);
  ApiReply GetStatus(const Call& call);
  ApiReply ListStatus(const Call& call);
  ApiReply GetCosts(const Call& call);
  ApiReply GetEvents(const Call& call);
  ApiReply GetOperations(const Call& call);
  ApiReply PauseNode(const Call& call);
  ApiReply ResumeNode(const Call& call);
  ApiReply RecycleNode(const Call& call);
  ApiReply ChangeStates(const Call& call);
  ApiReply DeleteVolume(const Call& call);
  Result<Json> NodeStatusJson(const NodeRecord& node);
  Result<Json> LastCheckpointJson(const NodeRecord& node);
  ApiReply OneNode(const Call& call, const char* kind, NodeTexts* texts);
  // The entries that the call asks for, or why there are none.
  ApiReply NodeEntries(const Call& call, std::vector<StateEntry>* entries);
  ApiReply Act(const std::string& account, const std::string& id, NodeAction action,
               const Json& input);

  static std::string CallerOfHeartbeat(const Json& body);
  ApiReply Heartbeat(const Call& call);
  // What is answered to an agent: what it is to run.
  Result<Json> OrdersJson(const NodeRecord& node);
  ApiReply GetAgent(const Call& call);
  ApiReply GetCheckpoints(const Call& call);

  // An import for which nobody would do anything is refused at once.
  void CheckRegion(const std::optional<MigrationRequest>& request, const std::string& path,
                   FieldErrors* errors) const;
  ApiReply CreateMigration(const Call& call);
  ApiReply CreateMigrations(const Call& call);
  ApiReply GetMigration(const Call& call);
  ApiReply SearchMigrations(const Call& call);

  ApiReply CreateGroupMigration(const Call& call);
  ApiReply GetGroupMigration(const Call& call);
  ApiReply CancelGroupMigration(const Call& call);
  ApiReply GroupUserAction(const Call& call);
  ApiReply ListStatefulInstances(const Call& call);
  ApiReply PauseStatefulInstance(const Call& call);
  ApiReply ResumeStatefulInstance(const Call& call);
  ApiReply RecycleStatefulInstance(const Call& call);
  ApiReply DeallocateStatefulInstance(const Call& call);
  ApiReply DeleteStatefulVolume(const Call& call);
  // The node behind a group's instance: ids are the group's and the instance's.
  Result<std::string> NodeOfGroup(const Call& call, bool check_instance);
  ApiReply ActOnGroup(const Call& call, NodeAction action);

  ControllerState* const state_;
  const ApiOptions options_;
  RateLimit rate_limit_;
  // Both are a matter of a node's record alone: each report of a checkpoint changes that, too.
  NodeTexts node_texts_;
  NodeTexts status_texts_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_API_API_SERVICE_H_
