#include "orchestrator/model/requests.h"

#include "orchestrator/model/internal/request_fields.h"

namespace snapstore::spot {
namespace {

// A list of at least one T at `path`.
template <typename T, typename... Checks>
std::optional<std::vector<T>> ReadList(const Json& list, const std::string& path,
                                       FieldErrors* errors, const Checks&... checks) {
  FieldErrors found;
  std::vector<T> values;
  const Json none = Json::object();
  Reader reader(none, "", ReadMode::kRequest, &found);
  reader.Value(list, path, &values, kNotEmpty, checks...);
  for (const FieldError& error : found.all()) errors->Add(error.path, error.message);
  if (!found.empty()) return std::nullopt;
  return values;
}

}  // namespace

std::optional<Deallocation> ParseDeallocation(const Json& body, FieldErrors* errors) {
  if (body.is_null()) return Deallocation{};
  return ReadObject<Deallocation>(body, "", ReadMode::kRequest, errors);
}

std::optional<std::vector<StateChange>> ParseStateChanges(const Json& list, FieldErrors* errors) {
  return ReadList<StateChange>(
      list, "managedInstanceStates", errors, [](const std::vector<StateChange>& changes) {
        return Repeated(
            changes, [](const StateChange& change) -> const auto& { return change.id; });
      });
}

std::optional<MigrationRequest> ParseMigration(const Json& object, const std::string& path,
                                               FieldErrors* errors) {
  return ReadObject<MigrationRequest>(object, path, ReadMode::kRequest, errors);
}

std::optional<MigrationRequest> ParseGroupMigration(const Json& object, FieldErrors* errors) {
  auto group =
      ReadObject<GroupMigration>(object, "statefulMigrationGroup", ReadMode::kRequest, errors);
  if (!group) return std::nullopt;
  return std::move(group->request);
}

std::optional<std::vector<std::string>> ParseMigrationIds(const Json& list, FieldErrors* errors) {
  return ReadList<std::string>(list, "migrationIds", errors, Each(IdOf{IdPrefix::kMigration}),
                               kUnique);
}

bool ParseUserAction(const Json& object, FieldErrors* errors) {
  const Json terminate = {{"type", "terminate"}};
  if (object == terminate) return true;
  errors->Add("userAction", "must be {\"type\": \"terminate\"}");
  return false;
}

Json DeallocationJson(const Deallocation& deallocation) { return Writer::ValueJson(deallocation); }

}  // namespace snapstore::spot
