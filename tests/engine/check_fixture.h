// CheckFixture: a repository in memory whose objects a test may damage.
#ifndef SNAPSTORE_TESTS_ENGINE_CHECK_FIXTURE_H_
#define SNAPSTORE_TESTS_ENGINE_CHECK_FIXTURE_H_

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/repository_impl.h"
#include "snapstore/inspect.h"
#include "snapstore/snapshot.h"
#include "tests/base/temp_folder.h"
#include "uploader/memory_store.h"

namespace snapstore {

class CheckFixture : public testing::Test {
 protected:
  CheckFixture() : store_(NewMemoryStore()) {
    SNAP_CHECK(RepositoryImpl::InitStore(*store_).ok());
    Reopen();
    std::filesystem::create_directories(source());
  }

  // A new handle, as another process would have, with its own view of the store.
  void Reopen(std::unique_ptr<ObjectStore> through = nullptr) {
    repository_.reset();
    if (through == nullptr) through = std::make_unique<Shared>(store_);
    auto opened = RepositoryImpl::OpenWithStore(
        std::move(through),
        {.location = "memory", .cache_dir = folder_.File("cache"), .memory_limit = 64 << 20});
    SNAP_CHECK(opened.ok());
    repository_ = std::move(*opened);
  }

  std::string source(const std::string& name = "") const {
    return folder_.File("source") + (name.empty() ? "" : "/" + name);
  }
  // As snapshots name it.
  std::string entry_path(const std::string& name) const { return source(name).substr(1); }

  void WriteFile(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(source(name)).parent_path());
    std::ofstream(source(name), std::ios::binary | std::ios::trunc) << content;
  }

  std::string Snapshot(const SnapshotRequest& request) {
    const auto summary = TakeSnapshot(*repository_, request, nullptr);
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    return summary.ok() ? summary->info.id : "";
  }
  std::string SnapshotSource(const std::string& parent = "auto") {
    SnapshotRequest request;
    request.paths = {source()};
    request.parent = parent;
    return Snapshot(request);
  }

  CheckReport Check(const CheckOptions& options = {}) {
    const auto report = CheckRepository(*repository_, options, nullptr);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return report.ok() ? *report : CheckReport();
  }
  CheckReport CheckAll() { return Check({.read_data = true}); }

  std::map<std::string, Bytes> Objects() const {
    std::map<std::string, Bytes> objects;
    SNAP_CHECK(store_
                   ->List("",
                          [&](const ObjectInfo& info) {
                            objects[info.key] = *store_->Get(ObjectKey(info.key), 1 << 30);
                            return Status();
                          })
                   .ok());
    return objects;
  }
  std::vector<std::string> Keys(const std::string& prefix) const {
    std::vector<std::string> keys;
    for (const auto& [key, bytes] : Objects()) {
      if (key.starts_with(prefix)) keys.push_back(key);
    }
    return keys;
  }
  void Remove(const std::string& key) const { SNAP_CHECK(store_->Delete(ObjectKey(key)).ok()); }
  void Put(const std::string& key, const Bytes& bytes) const {
    const ByteSpan parts[] = {bytes};
    SNAP_CHECK(store_->PutIfAbsent(ObjectKey(key), parts).ok());
  }
  void Replace(const std::string& key, const Bytes& bytes) const {
    Remove(key);
    Put(key, bytes);
  }

  static const CheckProblem* Find(const CheckReport& report, const std::string& object) {
    for (const CheckProblem& problem : report.problems) {
      if (problem.object == object) return &problem;
    }
    return nullptr;
  }
  static std::string Describe(const CheckReport& report) {
    std::string text;
    for (const CheckProblem& problem : report.problems) {
      text += problem.object + ": " + problem.message + "\n";
      for (const std::string& path : problem.lost_paths) text += "  " + path + "\n";
    }
    return text;
  }

  // One store under several handles.
  class Shared : public ObjectStore {
   public:
    explicit Shared(std::shared_ptr<ObjectStore> inner) : inner_(std::move(inner)) {}
    Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
      return inner_->PutIfAbsent(key, parts);
    }
    Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override {
      return inner_->GetRange(key, offset, out);
    }
    Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
      return inner_->Get(key, bytes_max);
    }
    Result<ObjectInfo> Stat(const ObjectKey& key) override { return inner_->Stat(key); }
    Status List(std::string_view prefix,
                const std::function<Status(const ObjectInfo&)>& visit) override {
      return inner_->List(prefix, visit);
    }
    Status Delete(const ObjectKey& key) override { return inner_->Delete(key); }
    std::string Describe() const override { return inner_->Describe(); }

   private:
    const std::shared_ptr<ObjectStore> inner_;
  };

  TempFolder folder_;
  std::shared_ptr<ObjectStore> store_;
  std::unique_ptr<RepositoryImpl> repository_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ENGINE_CHECK_FIXTURE_H_
