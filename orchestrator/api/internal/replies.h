// What the handlers share: error codes, and statuses as replies. Private to the folder.
#ifndef SNAPSTORE_ORCHESTRATOR_API_INTERNAL_REPLIES_H_
#define SNAPSTORE_ORCHESTRATOR_API_INTERNAL_REPLIES_H_

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "orchestrator/api/envelope.h"
#include "orchestrator/model/records.h"
#include "snapstore/status.h"

namespace snapstore::spot {

// Clients act on some of these: docs/controller.md.
struct ErrorCode {
  static constexpr const char* kGeneral = "GENERAL_ERROR";
  static constexpr const char* kBody = "CANT_PARSE_BODY";
  static constexpr const char* kQuery = "CANT_PARSE_QUERY";
  static constexpr const char* kAccount = "CANT_ACCESS_ACCOUNT";
  static constexpr const char* kRoute = "ROUTE_DOESNT_EXIST";
  static constexpr const char* kNoNode = "MANAGED_INSTANCE_DOESNT_EXIST";
  static constexpr const char* kNoInstance = "INSTANCE_DOESNT_EXIST";
  static constexpr const char* kNoConfig = "APPLICATION_PERSISTENCY_CONFIG_DOESNT_EXIST";
  static constexpr const char* kNoMigration = "MANAGED_INSTANCE_MIGRATION_DOESNT_EXIST";
  static constexpr const char* kNoGroup = "GROUP_DOESNT_EXIST";
  static constexpr const char* kNoGroupMigration = "STATEFUL_MIGRATION_GROUP_DOESNT_EXIST";
  static constexpr const char* kNoStatefulInstance = "STATEFUL_INSTANCE_DOESNT_EXIST";
};

// InvalidArgument is the caller's affair (400, `code`); all else is not (500).
ApiReply FailureReply(const Status& status, const std::string& code);

// The same, but NotFound says that the account has no node `id`.
ApiReply NodeFailed(const Status& status, const std::string& id, const char* code);

// Which part of a numbered list is asked for: `limit` entries after number `after`.
struct Page {
  int64_t after = 0;
  size_t limit = 100;
};
Page PageParameters(const ApiRequest& request, FieldErrors* errors);

// The same of nodes, which are in the order of their ids: all of them unless a limit is given.
struct NodePage {
  std::string after = {};
  size_t limit = SIZE_MAX;
};
NodePage NodePageParameters(const ApiRequest& request, FieldErrors* errors);

// As the API shows a node.
Json NodeJson(const NodeRecord& node);

inline std::string TimeText(int64_t ms) { return FormatTime(ms * 1'000'000); }
template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
inline Json TimeOrNull(const std::optional<int64_t>& ms) {
  return ms ? Json(TimeText(*ms)) : Json();
}

// The body's one root; an error says which one is wanted, and what else is there.
const Json* RootOf(const Json& body, const char* root, FieldErrors* errors);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_API_INTERNAL_REPLIES_H_
