// The fields of PersistencyConfig. Private to the folder.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_CONFIG_FIELDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_CONFIG_FIELDS_H_

#include "base/shell_words.h"
#include "base/storage_names.h"
#include "orchestrator/model/internal/checks.h"
#include "orchestrator/model/internal/fields.h"
#include "orchestrator/model/persistency_config.h"

namespace snapstore::spot {

inline std::string CheckRunCmd(const std::string& value) {
  const auto words = SplitCommand(value);
  return words.ok() ? "" : words.status().message();
}
inline std::string CheckDestination(const std::string& value) {
  return CheckSnapshotDestination(value).message();
}
inline std::string CheckFile(const std::string& value) {
  return CheckPlainFilePath(value).message();
}

template <typename V, Is<PersistencyConfig> T>
void Fields(V& v, T& o) {
  v.Required("name", o.name, TextOf{1, 255});
  v.Required("runCmd", o.run_cmd, CheckRunCmd);
  v.Field("externalFiles", o.external_files, Each(CheckFile), kUnique);
  v.Required("snapshotScheduler", o.snapshot_scheduler, CheckCron);
  v.Required("snapshotDestination", o.snapshot_destination, CheckDestination);
  for (const char* read_only : {"id", "createdAt", "updatedAt"}) v.Ignore(read_only);
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_CONFIG_FIELDS_H_
