// Session: what every command needs: global options, standard output, the observer, and how far
// the command has come.
//
// Thread safety: none; the observer alone may be called from the engine's threads.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_SESSION_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_SESSION_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/reader.h"
#include "snapstore/repository.h"
#include "snapstore/snapshot.h"
#include "tools/snapstore/console_observer.h"
#include "tools/snapstore/exit_code.h"
#include "tools/snapstore/printer.h"

namespace snapstore::cli {

// As they stand on the command line.
struct GlobalOptions {
  std::string repository;
  std::string cache_dir;
  std::string password_file;
  std::string key_file;
  std::string memory_limit = "512M";
  std::string io = "auto";
  std::vector<std::string> store_settings;  // "KEY=VALUE"
  unsigned threads = 0;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

// Where the password or key that a command adds comes from; nothing: the terminal.
struct NewKeySource {
  std::string password_file;
  std::string key_file;  // made when it does not exist

  bool empty() const { return password_file.empty() && key_file.empty(); }
  // InvalidArgument when it is both.
  Status Check() const;
};

// The other repository of a command that works with two.
struct SecondRepository {
  std::string location;
  std::vector<std::string> store_settings;  // "KEY=VALUE"
  std::string password_file;
  std::string key_file;
};

class Session {
 public:
  Session(const GlobalOptions& options, Printer* out, ConsoleObserver* observer)
      : options_(options), out_(out), observer_(observer) {}

  bool json() const { return options_.json; }
  bool quiet() const { return options_.quiet; }
  bool verbose() const { return options_.verbose; }
  Printer& out() { return *out_; }
  ConsoleObserver* observer() { return observer_; }

  // Where a status that a command returns arose: kUsage until a repository is touched.
  Stage stage() const { return stage_; }

  // The global options that need no repository, checked.
  Result<RepositoryOptions> EngineOptions() const;
  // The same with the repository's address, if one was given.
  Result<RepositoryOptions> PlaceOptions() const;
  // Everything that could be wrong with the command line was looked at.
  void BeginRun() { stage_ = Stage::kRun; }
  // Checks the global options (InvalidArgument at stage kUsage), then makes the repository. When it
  // is to be encrypted, with the password or key of the options and the environment, else with
  // `first_key`.
  Status InitRepository(const InitOptions& init, const NewKeySource& first_key);
  // Checks the global options, then opens the repository. The stage is kRun when it succeeds.
  // `adjust`, if given, may change what the repository is opened with.
  Result<std::unique_ptr<Repository>> OpenRepository(
      const std::function<void(RepositoryOptions*)>& adjust = nullptr);
  // A new password or key. WrongKey when there is neither a source nor a terminal.
  Result<Credential> NewCredential(const NewKeySource& source);

  // Options of another repository, checked, with all memory but the fourth part. To be called
  // before a repository is opened. `prefix` is that of its options on the command line, as "--to".
  Result<RepositoryOptions> SecondOptions(const SecondRepository& second,
                                          const std::string& prefix);
  // Opens a repository with options that are complete. The stage is kRun when it succeeds.
  Result<std::unique_ptr<Repository>> OpenWith(const RepositoryOptions& options);
  // For OpenRepository, in a command that opens two: the fourth part that SecondOptions leaves.
  static void TakeQuarter(RepositoryOptions* options);

  // With --verbose, to a reader: how busy each part of the pipeline was.
  Status PrintStages(const std::vector<PipelineStage>& stages);

  // To a reader, unless --quiet: what was asked of a store that bills by the request. The last line
  // of a summary; SetStoreUsage is its counterpart for --json.
  Status PrintStoreUsage(const Repository& repository);

  // Cancelled after an interrupt; for loops that the engine does not drive.
  Status CheckInterrupt() const;

 private:
  Result<RepositoryOptions> MakeRepositoryOptions();
  // Once: what options and environment give to open a repository.
  Status FindCredential();
  Result<Credential> AskToOpen();

  const GlobalOptions& options_;
  Printer* const out_;
  ConsoleObserver* const observer_;
  Stage stage_ = Stage::kUsage;
  bool looked_for_credential_ = false;
  std::optional<Credential> credential_;
};

// Opens the snapshot that `reference` names.
Result<std::unique_ptr<SnapshotReader>> OpenSnapshot(Repository& repository,
                                                     const std::string& reference);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_SESSION_H_
