// The JSON documents of `--json`; docs/json.md describes each of them.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_JSON_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_JSON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/inspect.h"
#include "snapstore/observer.h"
#include "snapstore/reader.h"
#include "snapstore/repository.h"
#include "snapstore/restore.h"
#include "snapstore/store_usage.h"

namespace snapstore::cli {

// Keeps the order in which fields were added.
using Json = nlohmann::ordered_json;

// One line; bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const Json& document);

// Sets `key` to `bytes`, and `key`_base64 to the exact bytes when they are not UTF-8.
void SetBytes(Json* object, const std::string& key, std::string_view bytes);
// The same for a list; the base64 list has all members, in the same order.
void SetBytesList(Json* object, const std::string& key, const std::vector<std::string>& list);

// Sets `store` of a summary: what was asked of a store that bills by the request; null for others.
void SetStoreUsage(Json* summary, const StoreUsage& usage);

Json ListItemJson(const SnapshotInfo& info);
// Message "snapshot": all that is known of one.
Json SnapshotJson(const SnapshotInfo& info);
// Message "summary" of the command snapshot.
Json SnapshotSummaryJson(const SnapshotSummary& summary);
// Message "summary" of restore.
Json RestoreSummaryJson(const std::string& snapshot_id, const RestoreSummary& summary);
// Message "entry".
Json EntryJson(const Entry& entry);
// Message "change".
Json ChangeJson(const DiffEntry& entry);
// Message "problem".
Json ProblemJson(const CheckProblem& problem);
// Message "status".
Json ProgressJson(const Progress& progress, double seconds);
// Message "error": one item went wrong while the operation goes on.
Json WarningJson(const Warning& warning, std::string_view during);
// Message "exit_error": the last thing said.
Json ExitErrorJson(int code, const Status& status);

// "added", "removed", "content", "metadata", "type".
std::string_view ChangeName(DiffEntry::Change change);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_JSON_H_
