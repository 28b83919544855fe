// CheckpointMetadata: checkpoint.json, the part of a checkpoint that describes it.
#ifndef SNAPSTORE_AGENT_CHECKPOINT_METADATA_H_
#define SNAPSTORE_AGENT_CHECKPOINT_METADATA_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/external_files.h"
#include "agent/platform.h"
#include "snapstore/status.h"

namespace snapstore::agent {

inline constexpr const char* kMetadataName = "checkpoint.json";

// Tags of a checkpoint's snapshot.
inline constexpr const char* kAppTag = "snapstore.app";
inline constexpr const char* kKindTag = "snapstore.kind";
inline constexpr const char* kCheckpointKind = "checkpoint";
inline constexpr const char* kTriggerTag = "snapstore.trigger";
// After this one the application executed nothing more.
inline constexpr const char* kFinalTrigger = "final";

struct CheckpointMetadata {
  std::string app;
  std::string run_cmd;
  int64_t time_ns = 0;  // when the application was frozen
  std::string criu_version;
  Platform platform;
  double frozen_ms = 0;
  int root_pid = 0;
  std::string log_path;  // of the application's stdout and stderr
  uint32_t log_mode = 0600;
  std::vector<ExternalFile> external_files;

  std::string ToJson() const;
  // Corruption when a field is missing or of the wrong kind.
  static Result<CheckpointMetadata> FromJson(std::string_view text);
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINT_METADATA_H_
