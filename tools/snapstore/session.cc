#include "tools/snapstore/session.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr uint64_t kMemoryLimitMin = 64ull << 20;

}  // namespace

Result<RepositoryOptions> Session::MakeRepositoryOptions() const {
  if (options_.repository.empty()) {
    return Status::InvalidArgument(
        "no repository given; name one with -r or in SNAPSTORE_REPOSITORY");
  }
  SNAP_ASSIGN_OR_RETURN(RepositoryOptions out, EngineOptions());
  out.location = options_.repository;
  out.cache_dir = options_.cache_dir;
  return out;
}

Result<RepositoryOptions> Session::EngineOptions() const {
  RepositoryOptions out;
  auto memory_limit = ParseSize(options_.memory_limit);
  if (!memory_limit.ok()) return memory_limit.status().WithContext("--memory-limit");
  if (*memory_limit < kMemoryLimitMin) {
    return Status::InvalidArgument(fmt::format("--memory-limit: {} is too little; at least {}",
                                               FormatSize(*memory_limit),
                                               FormatSize(kMemoryLimitMin)));
  }
  out.memory_limit = *memory_limit;
  out.threads = options_.threads;
  out.io = options_.io == "uring"     ? IoChoice::kUring
           : options_.io == "threads" ? IoChoice::kThreads
                                      : IoChoice::kAuto;
  for (const std::string& setting : options_.store_settings) {
    const size_t equals = setting.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Status::InvalidArgument("-o " + setting + ": write KEY=VALUE");
    }
    out.store_settings[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  out.cancelled = Interrupted;
  return out;
}

Status Session::InitRepository(RepositoryOptions* used) {
  SNAP_ASSIGN_OR_RETURN(*used, MakeRepositoryOptions());
  stage_ = Stage::kCreate;
  return Repository::Init(*used);
}

Result<std::unique_ptr<Repository>> Session::OpenRepository() {
  SNAP_ASSIGN_OR_RETURN(const RepositoryOptions options, MakeRepositoryOptions());
  stage_ = Stage::kOpen;
  auto repository = Repository::Open(options);
  if (repository.ok()) stage_ = Stage::kRun;
  return repository;
}

Status Session::PrintStages(const std::vector<PipelineStage>& stages) {
  if (!verbose()) return Status::Ok();
  for (const std::string& line : StageLines(stages)) {
    SNAP_RETURN_IF_ERROR(out_->Line("  " + line));
  }
  return Status::Ok();
}

Status Session::CheckInterrupt() const {
  return Interrupted() ? Status::Cancelled("interrupted") : Status::Ok();
}

Result<std::unique_ptr<SnapshotReader>> OpenSnapshot(Repository& repository,
                                                     const std::string& reference) {
  SNAP_ASSIGN_OR_RETURN(const std::string id, repository.ResolveSnapshot(reference));
  return SnapshotReader::Open(repository, id);
}

}  // namespace snapstore::cli
