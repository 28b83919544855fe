// What tests of the stored format share: random content, a store with a writer, systematic damage.
#ifndef SNAPSTORE_TESTS_ENGINE_FORMAT_FIXTURE_H_
#define SNAPSTORE_TESTS_ENGINE_FORMAT_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "base/random.h"
#include "engine/chunk_fetcher.h"
#include "engine/node_tree.h"
#include "engine/pack_table.h"
#include "engine/pack_writer.h"
#include "engine/segment_publisher.h"
#include "tests/engine/fake_index.h"
#include "uploader/memory_store.h"

namespace snapstore {

// A fresh seed, or SNAPSTORE_TEST_SEED to play one again; printed when a test fails.
inline uint64_t TestSeed() {
  if (const char* seed = std::getenv("SNAPSTORE_TEST_SEED"); seed != nullptr) {
    return std::strtoull(seed, nullptr, 0);
  }
  return std::random_device()();
}
#define SNAP_TRACE_SEED(seed) SCOPED_TRACE(testing::Message() << "SNAPSTORE_TEST_SEED=" << (seed))

inline Bytes RandomBytes(SplitMix64* random, size_t size) {
  Bytes out(size);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random->Next());
  return out;
}

inline HashSecret TestSecret() {
  HashSecret secret;
  SplitMix64 random(1);
  for (uint8_t& byte : secret.bytes) byte = static_cast<uint8_t>(random.Next());
  return secret;
}

inline ChunkId RandomId(SplitMix64* random, uint32_t length) {
  ChunkId id;
  for (uint8_t& byte : id.hash) byte = static_cast<uint8_t>(random->Next());
  id.length = length;
  return id;
}

inline Digest RandomDigest(SplitMix64* random) {
  Digest digest;
  for (uint8_t& byte : digest.bytes) byte = static_cast<uint8_t>(random->Next());
  return digest;
}

inline bool SaysDamaged(const Status& status) {
  return status.Is(StatusCode::kCorruption) || status.Is(StatusCode::kUnsupported);
}

// Calls `check` with every truncation of `whole` and every single byte of it changed. The copies
// are exactly as long as they say, so that a sanitizer sees every read beyond the end.
inline void ForEachDamage(const Bytes& whole, const std::function<void(const Bytes&)>& check) {
  for (size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(testing::Message() << "cut to " << size << " of " << whole.size() << " bytes");
    check(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)));
    if (testing::Test::HasFailure()) return;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      SCOPED_TRACE(testing::Message() << "byte " << i << " xor " << int{flip});
      Bytes damaged = whole;
      damaged[i] ^= flip;
      check(damaged);
      if (testing::Test::HasFailure()) return;
    }
  }
}

// A store with the machinery that fills it.
class Bench {
 public:
  explicit Bench(size_t pack_bytes = 1 << 20)
      : store_(NewMemoryStore()), publisher_(store_.get(), &Sealer::Plain(), &index_) {
    NewWriter(pack_bytes);
  }

  // As if another session began: what was stored is found through the index.
  void NewWriter(size_t pack_bytes = 1 << 20) {
    writer_ = std::make_unique<PackWriter>(store_.get(), &Sealer::Plain(), &index_, &publisher_,
                                           &table_, PackWriterOptions{2, 1, pack_bytes});
  }
  void Flush() {
    const Status status = writer_->Flush();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  PendingRef Put(PackKind kind, ByteSpan content) {
    auto ref = writer_->Put(kind, ComputeChunkId(secret_, content), content);
    EXPECT_TRUE(ref.ok()) << ref.status().ToString();
    return *ref;
  }
  // Of what was flushed.
  NodeSource& nodes() { return nodes_; }
  ChunkFetcher& fetcher() { return fetcher_; }
  ObjectStore& store() { return *store_; }
  FakeIndex& index() { return index_; }
  PackTable& table() { return table_; }
  PackWriter& writer() { return *writer_; }
  SegmentPublisher& publisher() { return publisher_; }
  const HashSecret& secret() const { return secret_; }

 private:
  const HashSecret secret_ = TestSecret();
  const std::unique_ptr<ObjectStore> store_;
  FakeIndex index_;
  SegmentPublisher publisher_;
  PackTable table_;
  ChunkFetcher fetcher_{store_.get(),
                        &Sealer::Plain(),
                        secret_,
                        [this](const ChunkId& id) { return index_.Find(id); },
                        {.cache_bytes = 1 << 20}};
  NodeSource nodes_{&fetcher_, &table_};
  std::unique_ptr<PackWriter> writer_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ENGINE_FORMAT_FIXTURE_H_
