// Two who make a repository in one place at the same moment.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "engine/config.h"
#include "engine/format.h"
#include "engine/repository_impl.h"
#include "engine/sealer.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

// A server that knows no condition: the later of two writers wins, and both are told that they made
// the object.
class LastWriterWins final : public ObjectStore {
 public:
  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    (void)inner_->Delete(key);
    Result<PutOutcome> outcome = inner_->PutIfAbsent(key, parts);
    if (after_put != nullptr) std::exchange(after_put, nullptr)();
    return outcome;
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
  std::string Describe() const override { return "last writer wins"; }

  std::function<void()> after_put;  // once

 private:
  const std::unique_ptr<ObjectStore> inner_ = NewMemoryStore();
};

TEST(Init, LosesToAnotherWhoWroteLaterAndSaysSo) {
  LastWriterWins store;
  const Bytes other = RepositoryConfig::Generate().Encode(Sealer());
  store.after_put = [&] {
    const ByteSpan parts[] = {other};
    ASSERT_TRUE(store.PutIfAbsent(ConfigKey(), parts).ok());
  };
  const Status made = RepositoryImpl::InitStore(store);
  EXPECT_TRUE(made.Is(StatusCode::kConflict)) << made.ToString();
  EXPECT_NE(made.message().find("somebody else"), std::string::npos) << made.message();
  EXPECT_EQ(*store.Get(ConfigKey(), kConfigBytesMax), other) << "the winner's is not touched";
}

TEST(Init, WinsWhereNobodyElseWrites) {
  LastWriterWins store;
  EXPECT_TRUE(RepositoryImpl::InitStore(store).ok());
}

}  // namespace
}  // namespace snapstore
