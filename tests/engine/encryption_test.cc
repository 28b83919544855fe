// An encrypted repository as a whole: who can open it, and what it shows to who cannot.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "engine/key_ring.h"
#include "engine/key_slot.h"
#include "engine/manifest.h"
#include "engine/pack.h"
#include "snapstore/keys.h"
#include "tests/engine/fixture.h"
#include "tests/engine/format_fixture.h"
#include "uploader/counting_store.h"
#include "uploader/fault_store.h"

namespace snapstore {
namespace {

// Cheap enough for tests.
constexpr ScryptCost kCheap{16, 1, 1};

Credential Password(const std::string& text) { return {Credential::Kind::kPassword, Secret(text)}; }

class EncryptedTest : public EngineFixture {
 protected:
  EncryptedTest() : EngineFixture(std::filesystem::temp_directory_path(), /*encrypt=*/true) {}

  Status OpenWith(const std::optional<Credential>& credential,
                  const std::shared_ptr<ObjectStore>& store = nullptr) const {
    RepositoryOptions options;
    options.cache_dir = folder_.File("cache-of-another");
    options.credential = credential;
    return RepositoryImpl::OpenWithStore(
               std::make_unique<CountingStore>(store == nullptr ? store_ : store), options)
        .status();
  }
  // A slot for a password that costs nothing.
  Digest AddPassword(const std::string& text) {
    const auto added = KeyRing(store_.get(), repository().config().id)
                           .Add(repository().sealer(), Password(text), {"", "", ""}, kCheap);
    EXPECT_TRUE(added.ok()) << added.status().ToString();
    return added->id;
  }
};

TEST_F(EncryptedTest, OpensWithItsKeyAndWithNothingElse) {
  EXPECT_TRUE(OpenWith(TestKeyFile()).ok());
  AddPassword("sesame");
  EXPECT_TRUE(OpenWith(Password("sesame")).ok());
  for (const auto& credential : {TestKeyFile('x'), Password("Sesame"), Password("sesame ")}) {
    const Status status = OpenWith(credential);
    EXPECT_TRUE(status.Is(StatusCode::kWrongKey)) << status.ToString();
  }
  const Status missing = OpenWith(std::nullopt);
  EXPECT_TRUE(missing.Is(StatusCode::kWrongKey));
  EXPECT_NE(missing.message().find("SNAPSTORE_PASSWORD"), std::string::npos);
  // Known to both a password and a file: they are different keys all the same.
  EXPECT_TRUE(OpenWith(Password(std::string(32, 'k'))).Is(StatusCode::kWrongKey));
}

TEST_F(EncryptedTest, CredentialForAPlainRepositoryIsRefused) {
  const std::shared_ptr<ObjectStore> plain = NewMemoryStore();
  ASSERT_TRUE(RepositoryImpl::InitStore(*plain).ok());
  EXPECT_TRUE(OpenWith(std::nullopt, plain).ok());
  EXPECT_TRUE(OpenWith(TestKeyFile(), plain).Is(StatusCode::kWrongKey));
  RepositoryOptions options{.location = folder_.File("new")};
  options.credential = TestKeyFile();
  EXPECT_TRUE(Repository::Init(options).Is(StatusCode::kInvalidArgument));
  EXPECT_FALSE(std::filesystem::exists(folder_.File("new")));
}

TEST_F(EncryptedTest, PasswordIsAskedForOnlyWhereItIsNeeded) {
  const std::shared_ptr<ObjectStore> plain = NewMemoryStore();
  ASSERT_TRUE(RepositoryImpl::InitStore(*plain).ok());
  int asked = 0;
  RepositoryOptions options{.cache_dir = folder_.File("other")};
  options.ask_credential = [&]() -> Result<Credential> {
    ++asked;
    return TestKeyFile();
  };
  ASSERT_TRUE(RepositoryImpl::OpenWithStore(std::make_unique<CountingStore>(plain), options).ok());
  EXPECT_EQ(asked, 0);
  const auto opened =
      RepositoryImpl::OpenWithStore(std::make_unique<CountingStore>(store_), options);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ(asked, 1);
  EXPECT_FALSE((*opened)->options().credential.has_value()) << "kept for longer than needed";
}

TEST_F(EncryptedTest, StoredObjectsShowNothingOfWhatTheyHold) {
  const std::string known = "the quick brown fox jumps over the lazy dog, again and again";
  WriteSource("payroll-2026/salaries.csv", known + RandomBytes(5000, 1));
  WriteSource("incompressible", RandomBytes(300'000, 2));
  SnapshotRequest request;
  request.paths = {source()};
  request.host = "db-primary.example";
  request.tags["purpose"] = "quarterly-audit";
  const std::string id = Snapshot(request);
  ASSERT_TRUE(AddKey(repository(), TestKeyFile('z'), "label-of-the-key").ok());

  std::vector<std::string> needles = {known.substr(0, 20),
                                      "payroll",
                                      "salaries",
                                      "incompressible",
                                      "db-primary",
                                      "quarterly",
                                      "purpose",
                                      "label-of-the-key",
                                      RandomBytes(300'000, 2).substr(70'000, 12),
                                      folder_.File("").substr(1, 12)};
  const HashSecret& secret = repository().config().hash_secret;
  for (const size_t at : {0, 64, 180}) {
    const ByteSpan part = ByteSpan(secret.bytes).subspan(at, 12);
    needles.emplace_back(AsText(part));
    needles.push_back(HexEncode(part));
  }
  for (const std::string& key : KeysBelow("data/")) {
    const auto footer = ParsePack(repository().sealer(), Objects().at(key));
    ASSERT_TRUE(footer.ok());
    for (const PackChunk& chunk : footer->chunks) needles.emplace_back(AsText(chunk.id.hash));
  }
  size_t searched = 0;
  for (const auto& [key, bytes] : Objects()) {
    for (const std::string& needle : needles) {
      EXPECT_EQ(AsText(bytes).find(needle), std::string_view::npos) << key << ": " << needle;
      EXPECT_EQ(key.find(needle), std::string::npos) << key;
    }
    searched += bytes.size();
  }
  EXPECT_GT(searched, 300'000u);
  // The same search finds them where nothing is encrypted.
  const auto manifest =
      DecodeManifest(repository().sealer(), *Digest::FromHex(id), Objects().at("snapshots/" + id));
  EXPECT_NE(AsText(EncodeManifest(Sealer::Plain(), *manifest)).find("quarterly"),
            std::string_view::npos);
  RestoreAll(id);
  EXPECT_EQ(ReadFileAt(Restored(source("incompressible"))), RandomBytes(300'000, 2));
}

TEST_F(EncryptedTest, NoNonceIsUsedTwice) {
  // Many packs: each snapshot has one at least.
  for (int i = 0; i < 30; ++i) {
    WriteSource("file", RandomBytes(200'000, 100 + static_cast<uint64_t>(i)));
    Snapshot();
  }
  std::set<std::string> nonces;
  size_t count = 0;
  const auto take = [&](ByteSpan nonce) {
    ASSERT_EQ(nonce.size(), XaesGcm::kNonceBytes);
    nonces.emplace(AsText(nonce));
    ++count;
  };
  std::set<std::string> salts;
  for (const auto& [key, bytes] : Objects()) {
    const ByteSpan all(bytes);
    if (key.starts_with("index/") || key.starts_with("snapshots/")) {
      take(all.subspan(16, XaesGcm::kNonceBytes));
    }
    if (!key.starts_with("data/") && !key.starts_with("meta/")) continue;
    const auto footer = ParsePack(repository().sealer(), bytes);
    ASSERT_TRUE(footer.ok());
    std::set<uint64_t> offsets = {LoadLe<uint32_t>(all.last(kPackTrailerBytes).data() + 8)};
    for (const PackChunk& chunk : footer->chunks) offsets.insert(chunk.frame_offset);
    for (const uint64_t offset : offsets) {
      const bool is_footer = offset == *offsets.rbegin();
      const ByteSpan salt = all.subspan(offset + (is_footer ? 0 : kFrameHeaderBytes), 16);
      EXPECT_EQ(AsText(salt), AsText(all.subspan(16, 16))) << key;
      Bytes nonce(salt.begin(), salt.end());
      ByteWriter(&nonce).U64(offset);
      take(nonce);
    }
    salts.emplace(AsText(all.subspan(16, 16)));
  }
  EXPECT_EQ(nonces.size(), count);
  EXPECT_GE(salts.size(), 30u);
  EXPECT_GE(count, 120u);
}

TEST_F(EncryptedTest, FrameServedFromAnotherPackIsNotBelieved) {
  // Two packs with a frame of the same size at the same offset; a hostile store exchanges them.
  WriteSource("one", RandomBytes(4000, 1));
  const std::string first = Snapshot();
  const std::set<std::string> before = [&] {
    const auto keys = KeysBelow("data/");
    return std::set<std::string>(keys.begin(), keys.end());
  }();
  WriteSource("two", RandomBytes(4000, 2));
  Snapshot();
  std::string other;
  for (const std::string& key : KeysBelow("data/")) {
    if (!before.contains(key)) other = key;
  }
  ASSERT_EQ(before.size(), 1u);
  const Bytes mine = Objects().at(*before.begin());
  Bytes mixed = mine;
  const Bytes theirs = Objects().at(other);
  const auto footer = ParsePack(repository().sealer(), mine);
  const PackChunk& chunk = footer->chunks.front();
  std::copy_n(theirs.begin() + chunk.frame_offset, chunk.frame_length,
              mixed.begin() + chunk.frame_offset);
  Replace(*before.begin(), mixed);
  const auto restored = Restore(AllOf(first));
  EXPECT_TRUE(!restored.ok() || restored->failed > 0);
  EXPECT_NE(Describe(Check({.read_data = true})).find(*before.begin()), std::string::npos);
}

TEST_F(EncryptedTest, PlainObjectsInAnEncryptedRepositoryAreRefused) {
  WriteSource("file", "content");
  Snapshot();
  // Whoever may write to the store, but has no key, makes up a snapshot.
  const Bytes forged = EncodeManifest(Sealer::Plain(), format::Manifest());
  Put(ManifestKey(Sha256::Of(forged)).text(), forged);
  uint64_t damaged = 0;
  RecordingObserver observer;
  const auto listed = repository().ListSnapshots(&observer, &damaged);
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->size(), 1u);
  EXPECT_EQ(damaged, 1u);
  EXPECT_NE(Describe(Check({})).find("not encrypted"), std::string::npos);
}

TEST_F(EncryptedTest, LeftoversOfAKilledSnapshotAreTakenUp) {
  WriteSource("file", RandomBytes(3 << 20, 5));
  auto faults = std::make_unique<FaultStore>(store_, 1);
  faults->Add({.kind = FaultKind::kFail, .op = StoreOp::kPut, .key_prefix = "index/"});
  Reopen(std::move(faults));
  SnapshotRequest request;
  request.paths = {source()};
  EXPECT_FALSE(TakeSnapshot(repository(), request, nullptr).ok());
  ASSERT_FALSE(KeysBelow("data/").empty());
  Reopen(nullptr);
  const auto summary = TakeSnapshot(repository(), request, nullptr);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->info.chunks_new, 0u);
  const auto rebuilt = repository().RebuildIndex(nullptr);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().ToString();
  EXPECT_EQ(rebuilt->packs_read, KeysBelow("data/").size() + KeysBelow("meta/").size());
  RestoreAll(summary->info.id);
}

TEST_F(EncryptedTest, InitThatWasKilledBeforeItsConfigurationIsRepeated) {
  const std::shared_ptr<ObjectStore> store = NewMemoryStore();
  FaultStore faults(store, 1);
  faults.Add({.kind = FaultKind::kFail, .op = StoreOp::kPut, .key_prefix = "config"});
  const RepositoryOptions options{.credential = TestKeyFile()};
  EXPECT_FALSE(RepositoryImpl::InitStore(faults, options, {.encrypt = true}).ok());
  EXPECT_TRUE(OpenWith(TestKeyFile(), store).Is(StatusCode::kNotFound));
  ASSERT_TRUE(RepositoryImpl::InitStore(*store, options, {.encrypt = true}).ok());
  EXPECT_TRUE(OpenWith(TestKeyFile(), store).ok()) << "the key that was left is another's";
}

TEST_F(EncryptedTest, DamagedKeysAreFoundAndTheOthersStillOpen) {
  (void)repository();  // opened as long as its key is whole
  const std::string only = KeysBelow("keys/").at(0);
  const Bytes whole = Objects().at(only);
  SplitMix64 random(3);
  for (int i = 0; i < 40; ++i) {
    Bytes damaged = whole;
    damaged[random.Below(damaged.size())] ^= static_cast<uint8_t>(1 + random.Below(255));
    Replace(only, damaged);
    EXPECT_TRUE(OpenWith(TestKeyFile()).Is(StatusCode::kCorruption));
  }
  AddPassword("sesame");
  EXPECT_TRUE(OpenWith(Password("sesame")).ok());
  const Status wrong = OpenWith(TestKeyFile());
  EXPECT_TRUE(wrong.Is(StatusCode::kWrongKey));
  EXPECT_NE(wrong.message().find("damaged"), std::string::npos) << wrong.message();
  EXPECT_NE(Describe(Check({})).find(only), std::string::npos);
  const auto keys = ListKeys(repository());
  ASSERT_TRUE(keys.ok());
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_TRUE(keys->front().damage.ok());
  EXPECT_TRUE(keys->back().damage.Is(StatusCode::kCorruption));
  for (const std::string& key : KeysBelow("keys/")) Remove(key);
  EXPECT_TRUE(OpenWith(TestKeyFile()).Is(StatusCode::kCorruption)) << "no key at all";
}

TEST_F(EncryptedTest, KeyThatCannotBeReadIsNotTakenForAWrongPassword) {
  const auto faults = std::make_shared<FaultStore>(store_, 1);
  faults->Add({.kind = FaultKind::kFail, .op = StoreOp::kGet, .key_prefix = "keys/"});
  EXPECT_TRUE(OpenWith(TestKeyFile(), faults).Is(StatusCode::kIo));
}

TEST_F(EncryptedTest, KeysAreAddedListedAndRemoved) {
  const auto first = ListKeys(repository());
  ASSERT_TRUE(first.ok() && first->size() == 1);
  EXPECT_TRUE(first->front().current);
  const std::string own = first->front().id;
  const auto added = AddKey(repository(), TestKeyFile('z'), "in the safe");
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  EXPECT_EQ(added->label, "in the safe");
  EXPECT_FALSE(added->current);
  EXPECT_TRUE(OpenWith(TestKeyFile('z')).ok());
  EXPECT_EQ(ListKeys(repository())->size(), 2u);

  EXPECT_TRUE(RemoveKey(repository(), own).status().Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(RemoveKey(repository(), "abc").status().Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(RemoveKey(repository(), std::string(64, '0')).status().Is(StatusCode::kNotFound));
  const auto removed = RemoveKey(repository(), added->id.substr(0, 8));
  ASSERT_TRUE(removed.ok()) << removed.status().ToString();
  EXPECT_EQ(*removed, added->id);
  EXPECT_TRUE(OpenWith(TestKeyFile('z')).Is(StatusCode::kWrongKey));
  EXPECT_TRUE(OpenWith(TestKeyFile()).ok());
  EXPECT_TRUE(AddKey(repository(), Password(""), "").status().Is(StatusCode::kInvalidArgument));
  const Credential short_file{Credential::Kind::kKeyFile, Secret("short")};
  EXPECT_TRUE(AddKey(repository(), short_file, "").status().Is(StatusCode::kInvalidArgument));
}

TEST_F(EncryptedTest, RotationKeepsTheDataAsItIs) {
  WriteSource("file", "content");
  const std::string id = Snapshot();
  const std::vector<std::string> packs = KeysBelow("data/");
  const auto rotated = RotateKey(repository(), TestKeyFile('z'), "");
  ASSERT_TRUE(rotated.ok()) << rotated.status().ToString();
  EXPECT_EQ(KeysBelow("keys/"), std::vector<std::string>{"keys/" + rotated->id});
  EXPECT_EQ(KeysBelow("data/"), packs);
  EXPECT_TRUE(OpenWith(TestKeyFile()).Is(StatusCode::kWrongKey));
  EXPECT_TRUE(OpenWith(TestKeyFile('z')).ok());
  EXPECT_TRUE(RotateKey(repository(), TestKeyFile('y'), "").ok()) << "the handle goes on";
  credential_ = TestKeyFile('y');
  Reopen(nullptr);
  RestoreAll(id);
}

TEST_F(EncryptedTest, RotationThatFailsAnywhereLeavesAKey) {
  // Every call to the store fails once, before and after it was carried out.
  char letter = 'a';
  for (uint64_t at = 1; at <= 12; ++at) {
    for (const FaultKind kind : {FaultKind::kFail, FaultKind::kFailAfter}) {
      const char fresh = letter == 'z' ? 'a' : static_cast<char>(letter + 1);
      const Credential old = *credential_;
      Reopen(nullptr);
      auto faults = std::make_unique<FaultStore>(store_, at);
      FaultStore* const handle = faults.get();
      Reopen(std::move(faults));
      (void)repository();  // opened before the faults begin
      handle->Add({.kind = kind, .at = at});
      const auto rotated = RotateKey(repository(), TestKeyFile(fresh), "");
      const bool old_opens = OpenWith(old).ok();
      const bool new_opens = OpenWith(TestKeyFile(fresh)).ok();
      EXPECT_TRUE(old_opens || new_opens) << "call " << at;
      EXPECT_TRUE(new_opens || !rotated.ok()) << "call " << at;
      credential_ = new_opens ? TestKeyFile(fresh) : old;
      letter = fresh;
    }
  }
}

TEST_F(EncryptedTest, ConcurrentRemovalsNeverTakeTheLastKey) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (int round = 0; round < 25; ++round) {
    // Each thread opened with a key of its own and removes those of the others.
    constexpr int kWriters = 3;
    std::vector<std::unique_ptr<RepositoryImpl>> handles;
    std::vector<std::string> ids;
    for (int i = 0; i < kWriters; ++i) {
      const Credential mine = TestKeyFile(static_cast<char>('a' + i));
      if (!OpenWith(mine).ok()) {
        Reopen(nullptr);
        const auto added = AddKey(repository(), mine, "");
        ASSERT_TRUE(added.ok()) << added.status().ToString();
      }
    }
    for (int i = 0; i < kWriters; ++i) {
      credential_ = TestKeyFile(static_cast<char>('a' + i));
      auto faults = std::make_unique<FaultStore>(store_, random.Next());
      faults->Add({.kind = FaultKind::kDelay,
                   .probability = 0.5,
                   .delay = std::chrono::milliseconds(1 + random.Below(3))});
      handles.push_back(OpenRepository(std::move(faults), "cache-" + std::to_string(i)));
      ids.push_back(handles.back()->opened_key().id.ToHex());
    }
    std::vector<std::thread> threads;
    threads.reserve(kWriters);
    for (int i = 0; i < kWriters; ++i) {
      threads.emplace_back([&, i] {
        for (int j = 1; j < kWriters; ++j) {
          (void)RemoveKey(*handles[i], ids[(i + j) % kWriters]);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    int open = 0;
    for (int i = 0; i < kWriters; ++i) {
      const Credential credential = TestKeyFile(static_cast<char>('a' + i));
      if (OpenWith(credential).ok()) {
        ++open;
        credential_ = credential;
      }
    }
    ASSERT_GE(open, 1) << "round " << round;
  }
}

TEST_F(EncryptedTest, HostileSlotsAreRefusedBeforeTheyCostAnything) {
  const Sealer& sealer = repository().sealer();
  auto slot = KeySlot::Make(sealer, Password("sesame"), {}, kCheap);
  ASSERT_TRUE(slot.ok());
  ASSERT_TRUE(KeySlot::Decode(slot->Encode()).ok());
  for (const ScryptCost& cost : std::vector<ScryptCost>{
           {1ull << 30, 8, 1}, {1 << 20, 1024, 1}, {1 << 16, 8, 1 << 20}, {0, 0, 0}}) {
    slot->cost = cost;
    const Bytes object = slot->Encode();
    EXPECT_TRUE(KeySlot::Decode(object).status().Is(StatusCode::kCorruption));
    Put(KeySlotKey(Sha256::Of(object)).text(), object);
  }
  EXPECT_TRUE(OpenWith(Password("sesame")).Is(StatusCode::kWrongKey));
  EXPECT_TRUE(OpenWith(TestKeyFile()).ok());
  // A thousand slots would be as bad.
  for (uint64_t i = 0; i < kKeySlotsMax; ++i) {
    Put(KeySlotKey(Sha256::Of(AsBytes(std::to_string(i)))).text(), Bytes{1});
  }
  EXPECT_TRUE(OpenWith(TestKeyFile()).Is(StatusCode::kCorruption));
}

TEST_F(EncryptedTest, KeySlotComesBackAndAnyDamageIsNoticed) {
  const Sealer& sealer = repository().sealer();
  const KeyAbout about{"a \"label\"\n", "host\xff", "2026-01-01T00:00:00Z"};
  const auto slot = KeySlot::Make(sealer, Password("sesame"), about, kCheap);
  ASSERT_TRUE(slot.ok());
  const Bytes bytes = slot->Encode();
  const auto decoded = KeySlot::Decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->Open(Password("sesame"))->view(), sealer.master_key().view());
  EXPECT_TRUE(decoded->Open(Password("Sesame")).status().Is(StatusCode::kWrongKey));
  EXPECT_TRUE(decoded->Open(TestKeyFile()).status().Is(StatusCode::kWrongKey));
  EXPECT_EQ(decoded->About(sealer)->label, about.label);
  EXPECT_EQ(decoded->About(sealer)->host, "host\xef\xbf\xbd");
  ForEachDamage(bytes, [](const Bytes& damaged) {
    EXPECT_TRUE(KeySlot::Decode(damaged).status().Is(StatusCode::kCorruption));
  });
}

}  // namespace
}  // namespace snapstore
