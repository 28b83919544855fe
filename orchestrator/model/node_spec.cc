#include "orchestrator/model/node_spec.h"

#include <strings.h>

#include "orchestrator/model/internal/node_spec_fields.h"

namespace snapstore::spot {
namespace {

constexpr const char* kNodeRoot = "managedInstance";

// nlohmann's merge_patch is RFC 7396, which is what "absent keeps, null removes" means; it keeps
// objects that became empty, which are the same as absent ones.
Json Merged(const NodeSpec& current, const Json& change) {
  Json merged = NodeSpecJson(current);
  merged.merge_patch(change);
  return merged;
}

void RefuseChange(std::string_view field, const std::string& before, const std::string& after,
                  FieldErrors* errors) {
  if (strcasecmp(before.c_str(), after.c_str()) == 0) return;
  errors->Add(fmt::format("{}.{}", kNodeRoot, field),
              fmt::format("cannot be changed: it is '{}'", before));
}

}  // namespace

std::optional<NodeSpec> ParseNodeSpec(const Json& object, FieldErrors* errors) {
  return ReadObject<NodeSpec>(object, kNodeRoot, ReadMode::kRequest, errors);
}

std::optional<NodeSpec> UpdateNodeSpec(const NodeSpec& current, const Json& change,
                                       FieldErrors* errors) {
  if (!change.is_object()) {
    errors->Add(kNodeRoot, "must be an object");
    return std::nullopt;
  }
  auto updated =
      ReadObject<NodeSpec>(Merged(current, change), kNodeRoot, ReadMode::kRequest, errors);
  if (!updated) return std::nullopt;
  const std::string fallback = "Linux/UNIX";
  RefuseChange("region", current.region, updated->region, errors);
  RefuseChange("compute.product", current.compute.product.value_or(fallback),
               updated->compute.product.value_or(fallback), errors);
  if (!errors->empty()) return std::nullopt;
  return updated;
}

Json NodeSpecJson(const NodeSpec& spec) { return Writer::ValueJson(spec); }

Result<NodeSpec> StoredNodeSpec(const Json& stored) {
  FieldErrors errors;
  auto spec = ReadObject<NodeSpec>(stored, kNodeRoot, ReadMode::kStored, &errors);
  if (!spec) return Status::Corruption(errors.ToStatus().message());
  return *std::move(spec);
}

OperatingSystem OperatingSystemOf(const NodeSpec& spec) {
  const std::string product = spec.compute.product.value_or("");
  const auto begins = [&product](std::string_view word) {
    return strncasecmp(product.c_str(), word.data(), word.size()) == 0;
  };
  if (begins("SUSE")) return OperatingSystem::kSuse;
  if (begins("Windows")) return OperatingSystem::kWindows;
  if (begins("Red Hat")) return OperatingSystem::kRedHat;
  return OperatingSystem::kLinux;
}

bool PersistsAnything(const Persistence& persistence) {
  return persistence.persist_root_device.value() || persistence.persist_block_devices.value() ||
         persistence.persist_private_ip.value() || persistence.persist_application.value();
}

}  // namespace snapstore::spot
