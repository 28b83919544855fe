// Where records are in the state store. Stores hold these names: they are never changed.
// Private to the folder.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_KEYS_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_KEYS_H_

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace snapstore::spot::keys {

inline std::string Account(std::string_view account) { return fmt::format("account/{}", account); }
inline std::string Token(std::string_view hash) { return fmt::format("token/{}", hash); }
inline std::string Configs(std::string_view account) { return fmt::format("config/{}/", account); }
inline std::string Nodes(std::string_view account) { return fmt::format("node/{}/", account); }
inline std::string Migrations(std::string_view account) {
  return fmt::format("migration/{}/", account);
}
// Value: the id of the migration that made the group.
inline std::string Group(std::string_view account, std::string_view group) {
  return fmt::format("group/{}/{}", account, group);
}
inline std::string Events(std::string_view account, std::string_view node) {
  return fmt::format("event/{}/{}/", account, node);
}
inline std::string Usage(std::string_view account, std::string_view node) {
  return fmt::format("usage/{}/{}/", account, node);
}
// Value: the id of the node.
inline std::string Instance(std::string_view account, std::string_view instance) {
  return fmt::format("instance/{}/{}", account, instance);
}
inline constexpr std::string_view kAgents = "agent/";
inline std::string Agent(std::string_view account, std::string_view node) {
  return fmt::format("{}{}/{}", kAgents, account, node);
}
inline std::string Checkpoints(std::string_view account, std::string_view node) {
  return fmt::format("checkpoint/{}/{}/", account, node);
}
inline constexpr std::string_view kRetained = "retained/";
inline std::string Retained(std::string_view id) { return fmt::format("{}{}", kRetained, id); }
inline constexpr std::string_view kActiveOperations = "operation/active/";
inline std::string ActiveOperation(std::string_view id) {
  return fmt::format("{}{}", kActiveOperations, id);
}
inline std::string DoneOperations(std::string_view account, std::string_view node) {
  return fmt::format("operation/done/{}/{}/", account, node);
}
// Orders as the number does.
inline std::string Numbered(const std::string& prefix, int64_t number) {
  return fmt::format("{}{:015}", prefix, number);
}

}  // namespace snapstore::spot::keys

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_KEYS_H_
