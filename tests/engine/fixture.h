// EngineFixture: a repository in memory, a folder for sources and targets, and the means to compare
// trees on disk, to look at every stored object and to damage it.
#ifndef SNAPSTORE_TESTS_ENGINE_FIXTURE_H_
#define SNAPSTORE_TESTS_ENGINE_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/repository_impl.h"
#include "snapstore/inspect.h"
#include "snapstore/restore.h"
#include "snapstore/snapshot.h"
#include "tests/base/temp_folder.h"
#include "uploader/object_store.h"

namespace snapstore {

inline constexpr size_t kMiB = 1 << 20;

// Keeps warnings; cancels once `cancel_after` polls have been made.
class RecordingObserver final : public Observer {
 public:
  void OnProgress(const Progress& progress) override { last = progress; }
  void OnWarning(const Warning& warning) override { warnings.push_back(warning); }
  bool Cancelled() override { return cancel_after > 0 && ++polls >= cancel_after; }

  Progress last;
  std::vector<Warning> warnings;
  int cancel_after = 0;
  int polls = 0;
};

// What `path` and all below it looks like: relative path to one line with type, mode, owner, mtime,
// size, content, link target, extended attributes, and which names are one file.
std::map<std::string, std::string> ScanTree(const std::string& path);

// Bytes that do not compress, the same for the same seed.
std::string RandomBytes(size_t size, uint64_t seed);
void WriteFileAt(const std::string& path, const std::string& content);
std::string ReadFileAt(const std::string& path);

// What opens the encrypted repositories of tests; a key file, since scrypt takes its time.
inline Credential TestKeyFile(char letter = 'k') {
  return {Credential::Kind::kKeyFile, Secret(std::string(32, letter))};
}

class EngineFixture : public ::testing::Test {
 protected:
  explicit EngineFixture(
      const std::filesystem::path& below = std::filesystem::temp_directory_path(),
      bool encrypt = false);

  // A handle of its own on the repository, through `store` if given, with a cache folder named
  // `cache`.
  std::unique_ptr<RepositoryImpl> OpenRepository(std::unique_ptr<ObjectStore> store = nullptr,
                                                 const std::string& cache = "cache",
                                                 uint64_t memory_limit = 128ull << 20,
                                                 unsigned threads = 2);
  RepositoryImpl& repository();
  // Replaces the handle, as another process would have one, with its own view of the store.
  void Reopen(std::unique_ptr<ObjectStore> through);

  std::string source(const std::string& name = "") const;
  std::string target(const std::string& name = "") const;
  // Where an absolute path of a source ends up below the target.
  std::string Restored(const std::string& path) const { return target() + path; }
  // A path as entries have it.
  static std::string EntryPath(const std::string& path) { return path.substr(1); }
  // As entries name what the source folder holds.
  std::string SourceEntry(const std::string& name) const { return EntryPath(source(name)); }
  void WriteSource(const std::string& name, const std::string& content) const {
    WriteFileAt(source(name), content);
  }

  // Takes a snapshot, of the source folder if not told; its id.
  std::string Snapshot(const std::string& parent = "auto");
  std::string Snapshot(const SnapshotRequest& request);
  // Everything of snapshot `id` below the target.
  RestoreRequest AllOf(const std::string& id) const;
  Result<RestoreSummary> Restore(const RestoreRequest& request, Observer* observer = nullptr);
  // As Restore, with everything below the target, expected to succeed without a warning.
  RestoreSummary RestoreAll(const std::string& id, bool in_place = false);

  CheckReport Check(const CheckOptions& options);
  // One line a problem and one a lost path; empty if the repository is whole.
  static std::string Describe(const CheckReport& report);

  std::map<std::string, Bytes> Objects() const;
  std::vector<std::string> KeysBelow(const std::string& prefix) const;
  void Put(const std::string& key, ByteSpan bytes) const;
  void Remove(const std::string& key) const;
  void Replace(const std::string& key, ByteSpan bytes) const;
  void FlipByte(const std::string& key, size_t at) const;
  // Stores a manifest whose entry list is exactly these records; its id.
  std::string StoreManifest(const std::vector<format::Entry>& entries);

  TempFolder folder_;
  std::optional<Credential> credential_;  // of an encrypted repository
  std::shared_ptr<ObjectStore> store_;
  std::unique_ptr<RepositoryImpl> repository_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ENGINE_FIXTURE_H_
