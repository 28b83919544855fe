#include "tools/snapstore/session.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "base/status_macros.h"
#include "snapstore/store_settings.h"
#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/password.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr uint64_t kMemoryLimitMin = 64ull << 20;

}  // namespace

Status NewKeySource::Check() const {
  if (password_file.empty() || key_file.empty()) return Status::Ok();
  return Status::InvalidArgument("a new key is a password or a key file, not both");
}

Result<RepositoryOptions> Session::MakeRepositoryOptions() {
  if (options_.repository.empty()) {
    return Status::InvalidArgument(
        "no repository given; name one with -r or in SNAPSTORE_REPOSITORY");
  }
  SNAP_ASSIGN_OR_RETURN(RepositoryOptions out, PlaceOptions());
  SNAP_RETURN_IF_ERROR(FindCredential());
  out.credential = credential_;
  out.ask_credential = [this] { return AskToOpen(); };
  return out;
}

Result<RepositoryOptions> Session::PlaceOptions() const {
  SNAP_ASSIGN_OR_RETURN(RepositoryOptions out, EngineOptions());
  out.location = options_.repository;
  out.cache_dir = options_.cache_dir;
  return out;
}

Status Session::FindCredential() {
  if (looked_for_credential_) return Status::Ok();
  looked_for_credential_ = true;
  Result<std::optional<Credential>> found = CredentialFromEnvironment();
  // An option of the command line takes precedence, whatever the environment holds.
  if (!options_.key_file.empty()) {
    SNAP_ASSIGN_OR_RETURN(credential_, ReadKeyFile(options_.key_file));
  } else if (!options_.password_file.empty()) {
    SNAP_ASSIGN_OR_RETURN(credential_, ReadPasswordFile(options_.password_file));
  } else {
    SNAP_ASSIGN_OR_RETURN(credential_, std::move(found));
  }
  return Status::Ok();
}

Result<Credential> Session::AskToOpen() {
  SNAP_ASSIGN_OR_RETURN(credential_, AskPassword("password of the repository", PasswordUse::kOpen));
  if (credential_.has_value()) return *credential_;
  return Status::WrongKey(
      options_.repository +
      " is encrypted: give its password in SNAPSTORE_PASSWORD or with --password-file, or its key "
      "with --key-file");
}

Result<Credential> Session::NewCredential(const NewKeySource& source) {
  if (!source.password_file.empty()) return ReadPasswordFile(source.password_file);
  if (!source.key_file.empty()) {
    if (::access(source.key_file.c_str(), F_OK) == 0) return ReadKeyFile(source.key_file);
    return MakeKeyFile(source.key_file);
  }
  SNAP_ASSIGN_OR_RETURN(std::optional<Credential> typed,
                        AskPassword("new password", PasswordUse::kNew));
  if (typed.has_value()) return std::move(*typed);
  return Status::WrongKey("no new password or key is given, and there is no terminal to ask on");
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
  SNAP_ASSIGN_OR_RETURN(out.store_settings, ParseStoreSettings("-o", options_.store_settings));
  out.cancelled = Interrupted;
  return out;
}

Status Session::InitRepository(const InitOptions& init, const NewKeySource& first_key) {
  stage_ = Stage::kUsage;
  SNAP_ASSIGN_OR_RETURN(RepositoryOptions options, MakeRepositoryOptions());
  if (credential_.has_value() && !init.encrypt) {
    return Status::InvalidArgument(
        "a password or key is given, but not --encrypt: the repository would not be encrypted");
  }
  if (credential_.has_value() && !first_key.empty()) {
    return Status::InvalidArgument(
        "the first key is given twice: by --new-key-file and to open with");
  }
  options.ask_credential = [this, &first_key]() -> Result<Credential> {
    SNAP_ASSIGN_OR_RETURN(credential_, NewCredential(first_key));
    return *credential_;
  };
  stage_ = Stage::kCreate;
  return Repository::Init(options, init);
}

Result<std::unique_ptr<Repository>> Session::OpenRepository(
    const std::function<void(RepositoryOptions*)>& adjust) {
  SNAP_ASSIGN_OR_RETURN(RepositoryOptions options, MakeRepositoryOptions());
  if (adjust != nullptr) adjust(&options);
  return OpenWith(options);
}

Result<RepositoryOptions> Session::SecondOptions(const SecondRepository& second,
                                                 const std::string& prefix) {
  SNAP_ASSIGN_OR_RETURN(RepositoryOptions options, EngineOptions());
  options.location = second.location;
  options.cache_dir = options_.cache_dir;
  options.memory_limit = std::max(kMemoryLimitMin, options.memory_limit / 4 * 3);
  SNAP_ASSIGN_OR_RETURN(options.store_settings,
                        ParseStoreSettings(prefix + "-o", second.store_settings));
  Result<std::optional<Credential>> found = CredentialFromEnvironment("2");
  if (!second.key_file.empty()) {
    SNAP_ASSIGN_OR_RETURN(options.credential, ReadKeyFile(second.key_file));
  } else if (!second.password_file.empty()) {
    SNAP_ASSIGN_OR_RETURN(options.credential, ReadPasswordFile(second.password_file));
  } else {
    SNAP_ASSIGN_OR_RETURN(options.credential, std::move(found));
  }
  options.ask_credential = [location = second.location, prefix]() -> Result<Credential> {
    SNAP_ASSIGN_OR_RETURN(std::optional<Credential> typed,
                          AskPassword("password of " + location, PasswordUse::kOpen));
    if (typed.has_value()) return std::move(*typed);
    return Status::WrongKey(location +
                            " is encrypted: give its password in SNAPSTORE_PASSWORD2 or with " +
                            prefix + "-password-file, or its key with " + prefix + "-key-file");
  };
  return options;
}

void Session::TakeQuarter(RepositoryOptions* options) {
  options->memory_limit = std::max(kMemoryLimitMin, options->memory_limit / 4);
}

Result<std::unique_ptr<Repository>> Session::OpenWith(const RepositoryOptions& options) {
  stage_ = Stage::kOpen;
  auto repository = Repository::Open(options);
  if (!repository.ok()) return repository;
  stage_ = Stage::kRun;
  // A core file would hold the keys that OpenSSL works with.
  if ((*repository)->encrypted()) (void)::prctl(PR_SET_DUMPABLE, 0);
  return repository;
}

Status Session::PrintStages(const std::vector<PipelineStage>& stages) {
  if (!verbose()) return Status::Ok();
  for (const std::string& line : StageLines(stages)) {
    SNAP_RETURN_IF_ERROR(out_->Line("  " + line));
  }
  return Status::Ok();
}

Status Session::PrintStoreUsage(const Repository& repository) {
  const StoreUsage usage = repository.Usage();
  if (quiet() || !usage.metered) return Status::Ok();
  return out_->Line(StoreUsageLine(usage));
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
