#include "tests/engine/fixture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/random.h"
#include "base/sha256.h"
#include "engine/manifest.h"
#include "uploader/counting_store.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

constexpr size_t kObjectBytesMax = 64 << 20;

std::string DescribeXattrs(const std::string& path) {
  std::vector<char> names(64 << 10);
  const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
  std::map<std::string, std::string> found;
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(&names[at])) + 1) {
    std::vector<uint8_t> value(64 << 10);
    const ssize_t length = ::lgetxattr(path.c_str(), &names[at], value.data(), value.size());
    value.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
    found[&names[at]] = HexEncode(value);
  }
  std::string out;
  for (const auto& [name, value] : found) out.append(" ").append(name).append("=").append(value);
  return out;
}

}  // namespace

std::string RandomBytes(size_t size, uint64_t seed) {
  SplitMix64 random(seed);
  std::string out(size, '\0');
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random.Next();
    std::memcpy(out.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return out;
}

void WriteFileAt(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  const Result<UniqueFd> fd = OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC);
  ASSERT_TRUE(fd.ok()) << fd.status().ToString();
  const Status written = WriteFull(fd->get(), AsBytes(content), path);
  ASSERT_TRUE(written.ok()) << written.ToString();
}

std::string ReadFileAt(const std::string& path) {
  const Result<Bytes> bytes = ReadWholeFile(path, 1ull << 30);
  return bytes.ok() ? std::string(AsText(*bytes)) : bytes.status().ToString();
}

std::map<std::string, std::string> ScanTree(const std::string& path) {
  std::map<std::string, std::string> out;
  std::map<ino_t, std::string> first_names;
  std::vector<std::string> names = {""};
  for (const auto& item : std::filesystem::recursive_directory_iterator(path)) {
    names.push_back(item.path().string().substr(path.size()));
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string here = path + name;
    struct stat stat;
    if (::lstat(here.c_str(), &stat) != 0) continue;
    std::string line =
        fmt::format("mode {:o} owner {}:{} mtime {}.{:09}", stat.st_mode, stat.st_uid, stat.st_gid,
                    stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
    line += DescribeXattrs(here);
    if (S_ISREG(stat.st_mode)) {
      const std::string content = ReadFileAt(here);
      line += fmt::format(" size {} sha256 {}", stat.st_size,
                          Sha256::Of(AsBytes(content)).ToHex().substr(0, 16));
    }
    if (S_ISLNK(stat.st_mode)) line += " to " + std::filesystem::read_symlink(here).string();
    if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode)) {
      line += fmt::format(" device {}", stat.st_rdev);
    }
    if (!S_ISDIR(stat.st_mode) && stat.st_nlink > 1) {
      line += " same as " + first_names.emplace(stat.st_ino, name).first->second;
    }
    out[name] = line;
  }
  return out;
}

EngineFixture::EngineFixture(const std::filesystem::path& below, bool encrypt)
    : folder_(below), store_(NewMemoryStore()) {
  std::filesystem::create_directories(source());
  if (encrypt) credential_ = TestKeyFile();
  const Status made =
      RepositoryImpl::InitStore(*store_, {.credential = credential_}, {.encrypt = encrypt});
  EXPECT_TRUE(made.ok()) << made.ToString();
}

std::unique_ptr<RepositoryImpl> EngineFixture::OpenRepository(std::unique_ptr<ObjectStore> store,
                                                              const std::string& cache,
                                                              uint64_t memory_limit,
                                                              unsigned threads) {
  if (store == nullptr) store = std::make_unique<CountingStore>(store_);
  RepositoryOptions options;
  options.cache_dir = folder_.File(cache);
  options.memory_limit = memory_limit;
  options.threads = threads;
  options.credential = credential_;
  Result<std::unique_ptr<RepositoryImpl>> opened =
      RepositoryImpl::OpenWithStore(std::move(store), options);
  EXPECT_TRUE(opened.ok()) << opened.status().ToString();
  return opened.ok() ? std::move(*opened) : nullptr;
}

RepositoryImpl& EngineFixture::repository() {
  if (repository_ == nullptr) repository_ = OpenRepository();
  return *repository_;
}

std::string EngineFixture::source(const std::string& name) const {
  return folder_.File(name.empty() ? "source" : "source/" + name);
}

std::string EngineFixture::target(const std::string& name) const {
  return folder_.File(name.empty() ? "target" : "target/" + name);
}

void EngineFixture::Reopen(std::unique_ptr<ObjectStore> through) {
  repository_.reset();
  repository_ = OpenRepository(std::move(through));
}

std::string EngineFixture::Snapshot(const std::string& parent) {
  SnapshotRequest request;
  request.paths = {source()};
  request.parent = parent;
  return Snapshot(request);
}

std::string EngineFixture::Snapshot(const SnapshotRequest& request) {
  const Result<SnapshotSummary> summary = TakeSnapshot(repository(), request, nullptr);
  EXPECT_TRUE(summary.ok()) << summary.status().ToString();
  if (!summary.ok()) return {};
  EXPECT_EQ(summary->info.unreadable, 0u);
  return summary->info.id;
}

RestoreRequest EngineFixture::AllOf(const std::string& id) const {
  RestoreRequest request;
  request.snapshot_id = id;
  request.target = target();
  return request;
}

Result<RestoreSummary> EngineFixture::Restore(const RestoreRequest& request, Observer* observer) {
  return RestoreSnapshot(repository(), request, observer);
}

RestoreSummary EngineFixture::RestoreAll(const std::string& id, bool in_place) {
  RecordingObserver observer;
  RestoreRequest request = AllOf(id);
  request.in_place = in_place;
  const Result<RestoreSummary> summary = Restore(request, &observer);
  EXPECT_TRUE(summary.ok()) << summary.status().ToString();
  for (const Warning& warning : observer.warnings) {
    ADD_FAILURE() << warning.item << ": " << warning.status.ToString();
  }
  return summary.ok() ? *summary : RestoreSummary();
}

CheckReport EngineFixture::Check(const CheckOptions& options) {
  const Result<CheckReport> report = CheckRepository(repository(), options, nullptr);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return report.ok() ? *report : CheckReport();
}

std::string EngineFixture::Describe(const CheckReport& report) {
  std::string text;
  for (const CheckProblem& problem : report.problems) {
    text += fmt::format("{}: {}\n", problem.object, problem.message);
    for (const std::string& path : problem.lost_paths) text += fmt::format("  {}\n", path);
  }
  return text;
}

std::map<std::string, Bytes> EngineFixture::Objects() const {
  std::map<std::string, Bytes> objects;
  for (const std::string& key : KeysBelow("")) {
    Result<Bytes> bytes = store_->Get(ObjectKey(key), kObjectBytesMax);
    EXPECT_TRUE(bytes.ok()) << bytes.status().ToString();
    if (bytes.ok()) objects[key] = std::move(*bytes);
  }
  return objects;
}

std::vector<std::string> EngineFixture::KeysBelow(const std::string& prefix) const {
  std::vector<std::string> keys;
  const Status listed = store_->List(prefix, [&](const ObjectInfo& object) {
    keys.push_back(object.key);
    return Status();
  });
  EXPECT_TRUE(listed.ok()) << listed.ToString();
  std::sort(keys.begin(), keys.end());
  return keys;
}

void EngineFixture::Put(const std::string& key, ByteSpan bytes) const {
  const ByteSpan parts[] = {bytes};
  ASSERT_TRUE(store_->PutIfAbsent(ObjectKey(key), parts).ok()) << key;
}

void EngineFixture::Remove(const std::string& key) const {
  ASSERT_TRUE(store_->Delete(ObjectKey(key)).ok()) << key;
}

void EngineFixture::Replace(const std::string& key, ByteSpan bytes) const {
  Remove(key);
  Put(key, bytes);
}

void EngineFixture::FlipByte(const std::string& key, size_t at) const {
  Result<Bytes> bytes = store_->Get(ObjectKey(key), kObjectBytesMax);
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  (*bytes)[at % bytes->size()] ^= 0x20;
  Replace(key, *bytes);
}

std::string EngineFixture::StoreManifest(const std::vector<format::Entry>& entries) {
  Bytes leaf;
  ByteWriter writer(&leaf);
  for (const format::Entry& entry : entries) {
    const std::string record = entry.SerializeAsString();
    writer.Varint(record.size());
    writer.Raw(AsBytes(record));
  }
  format::Manifest manifest;
  manifest.set_repository_id(repository().config().id.data(), repository().config().id.size());
  manifest.mutable_tree()->set_nodes(leaf.data(), leaf.size());
  manifest.mutable_tree()->set_span(entries.size());
  const Bytes bytes = EncodeManifest(repository().sealer(), manifest);
  const Digest id = Sha256::Of(bytes);
  Put(ManifestKey(id).text(), bytes);
  return id.ToHex();
}

}  // namespace snapstore
