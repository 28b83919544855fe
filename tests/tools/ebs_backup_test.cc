#include "tools/snapstore/ebs/ebs_backup.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "orchestrator/ec2/ec2_client.h"
#include "snapstore/maintain.h"
#include "snapstore/reader.h"
#include "tests/engine/fixture.h"
#include "tests/tools/fake_ebs.h"

namespace snapstore::cli {
namespace {

constexpr size_t kBlock = FakeEbs::kBlock;

class EbsBackupTest : public EngineFixture {
 protected:
  void SetUp() override {
    const auto chain = std::make_shared<AwsCredentialChain>(
        std::vector<CredentialSource>{{"test",
                                       []() -> Result<std::optional<AwsCredentials>> {
                                         AwsCredentials made;
                                         made.access_key_id = "KEY";
                                         made.secret_access_key = "the-secret";
                                         return std::optional(made);
                                       }}},
        WallNanos);
    AwsServiceOptions options;
    options.region = "eu-west-1";
    options.endpoint = ebs_.url();
    options.deadline = std::chrono::milliseconds(5000);
    options.service = "ebs";
    services_.direct = std::make_unique<EbsDirect>(options, chain);
    options.service = "ec2";
    options.version = "2016-11-15";
    services_.ec2 = std::make_unique<Ec2Client>(options, chain);
    FakeEbsSnapshot& first = ebs_.snapshots["snap-00000001"];
    for (const uint64_t index : {0, 1, 2, 7, 8, 40, 1000, 2047}) {
      first.blocks[index] = RandomBytes(kBlock, index);
    }
    FakeEbsSnapshot& second = ebs_.snapshots["snap-00000002"];
    second = first;
    second.blocks[2].replace(1000, 5, "other");
    second.blocks[9] = RandomBytes(kBlock, 9);
    second.blocks.erase(40);
  }

  Result<EbsBackupSummary> Take(const std::string& snapshot, const SnapshotRequest& request = {}) {
    ebs_.read.clear();
    ebs_.lists = 0;
    observer_.warnings.clear();
    return BackUpEbsSnapshot(repository(), services_, {.snapshot_id = snapshot}, request,
                             &observer_);
  }

  EbsBackupSummary Taken(const std::string& snapshot, const SnapshotRequest& request = {}) {
    const auto taken = Take(snapshot, request);
    EXPECT_TRUE(taken.ok()) << taken.status().ToString();
    if (!taken.ok()) return {};
    ExpectContent(taken->taken.info.id, snapshot);
    return *taken;
  }

  // Nothing is committed, and the message is one line that says this.
  void Refused(StatusCode code, const std::string& part, const std::string& snapshot) {
    const size_t before = KeysBelow("snapshots/").size();
    const auto taken = Take(snapshot);
    EXPECT_TRUE(taken.status().Is(code)) << taken.status().ToString();
    EXPECT_NE(taken.status().message().find(part), std::string::npos) << taken.status().message();
    EXPECT_EQ(taken.status().message().find('\n'), std::string::npos);
    EXPECT_EQ(KeysBelow("snapshots/").size(), before);
  }

  void ExpectContent(const std::string& id, const std::string& snapshot) {
    const FakeEbsSnapshot& expected = ebs_.snapshots[snapshot];
    const auto reader = SnapshotReader::Open(repository(), id);
    ASSERT_TRUE(reader.ok()) << reader.status().ToString();
    const auto content = (*reader)->OpenContent(expected.volume_id);
    ASSERT_TRUE(content.ok()) << content.status().ToString();
    ASSERT_EQ((*content)->size(), expected.gib << 30);
    // Data is where blocks are, and nowhere else.
    for (uint64_t at = 0; at < (*content)->size();) {
      uint64_t begin = 0;
      uint64_t end = 0;
      ASSERT_TRUE((*content)->NextData(at, &begin, &end).ok());
      if (begin >= (*content)->size()) break;
      EXPECT_TRUE(expected.blocks.contains(begin / kBlock)) << begin;
      EXPECT_TRUE(expected.blocks.contains((end - 1) / kBlock)) << end;
      at = end;
    }
    for (const auto& [index, bytes] : expected.blocks) {
      std::string out(kBlock, '\0');
      ASSERT_TRUE((*content)
                      ->ReadAt(index * kBlock, {reinterpret_cast<uint8_t*>(out.data()), out.size()})
                      .ok());
      EXPECT_TRUE(out == bytes) << index;
    }
  }

  std::string OnlyWarning() const {
    EXPECT_EQ(observer_.warnings.size(), 1u);
    return observer_.warnings.empty() ? "" : observer_.warnings[0].status.message();
  }

  FakeEbs ebs_;
  EbsServices services_;
  RecordingObserver observer_;
};

TEST_F(EbsBackupTest, TheFirstReadsWhatIsWrittenTheNextWhatChanged) {
  const EbsBackupSummary first = Taken("snap-00000001");
  EXPECT_EQ(first.blocks_read, 8u);
  EXPECT_EQ(first.blocks_total, 2048u);
  EXPECT_EQ(first.changed_since, "");
  EXPECT_EQ(first.taken.info.paths, std::vector<std::string>{"vol-1"});
  EXPECT_EQ(first.taken.info.tags.at(kEbsSnapshotTag), "snap-00000001");
  EXPECT_EQ(first.taken.info.tags.at(kEbsVolumeTag), "vol-1");
  SnapshotRequest request;
  request.tags = {{"job", "nightly"}};
  const EbsBackupSummary second = Taken("snap-00000002", request);
  EXPECT_EQ(ebs_.read, (std::set<uint64_t>{2, 9}));
  EXPECT_EQ(second.blocks_read, 2u);
  EXPECT_EQ(second.changed_since, "snap-00000001");
  EXPECT_EQ(second.taken.info.parent_id, first.taken.info.id);
  EXPECT_EQ(second.taken.info.tags.at("job"), "nightly");
  EXPECT_TRUE(observer_.warnings.empty());
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
  // The same once more: all of it is known.
  const EbsBackupSummary again = Taken("snap-00000002");
  EXPECT_EQ(again.blocks_read, 0u);
  EXPECT_EQ(again.changed_since, "snap-00000002");
}

TEST_F(EbsBackupTest, ListsComeInPagesSomeOfThemEmpty) {
  ebs_.page_size = 1;
  bool empty = false;
  ebs_.edit_page = [&empty](FakeEbs::Json* page) {
    // Every second time nothing but a token to come here again.
    const char* name = page->contains("Blocks") ? "Blocks" : "ChangedBlocks";
    empty = !empty && page->contains("NextToken") && (*page)[name].size() == 1;
    if (!empty) return;
    (*page)["NextToken"] = "0" + std::to_string((*page)[name][0]["BlockIndex"].get<int>());
    (*page)[name] = FakeEbs::Json::array();
  };
  EXPECT_EQ(Taken("snap-00000001").blocks_read, 8u);
  EXPECT_GT(ebs_.lists, 10);
  EXPECT_EQ(Taken("snap-00000002").blocks_read, 2u);
}

TEST_F(EbsBackupTest, ManyBlocksAreOnTheirWayAtOnceAndThrottlingPasses) {
  FakeEbsSnapshot& big = ebs_.snapshots["snap-00000003"];
  big.volume_id = "vol-3";
  for (uint64_t index = 0; index < 60; ++index) big.blocks[index] = RandomBytes(kBlock, index);
  ebs_.throttle = 3;
  EXPECT_EQ(Taken("snap-00000003").blocks_read, 60u);
  EXPECT_GT(ebs_.at_once_most, 1);
  EXPECT_LE(ebs_.at_once_most, 16);
}

TEST_F(EbsBackupTest, TokensThatExpiredAreAskedForAnew) {
  ebs_.expire_after = 3;
  EXPECT_EQ(Taken("snap-00000001").blocks_read, 8u);
  EXPECT_GE(ebs_.lists, 2);
  ebs_.expire_after = 1;
  EXPECT_EQ(Taken("snap-00000002").blocks_read, 2u);
}

TEST_F(EbsBackupTest, AVolumeThatWasNeverWrittenIsOneHole) {
  ebs_.snapshots["snap-00000001"].blocks.clear();
  const EbsBackupSummary taken = Taken("snap-00000001");
  EXPECT_EQ(taken.blocks_read, 0u);
  EXPECT_EQ(taken.taken.info.bytes_total, 1u << 30);
}

TEST_F(EbsBackupTest, WhatCannotBeComparedIsReadWholeAndTheReasonTold) {
  const EbsBackupSummary first = Taken("snap-00000001");
  ebs_.unrelated = true;
  const EbsBackupSummary second = Taken("snap-00000002");
  EXPECT_EQ(second.blocks_read, 8u);
  EXPECT_EQ(second.changed_since, "");
  EXPECT_EQ(second.taken.info.parent_id, first.taken.info.id);
  EXPECT_LT(second.taken.info.bytes_new, 3 * kBlock);
  EXPECT_NE(OnlyWarning().find("ValidationException"), std::string::npos) << OnlyWarning();
  // The earlier EBS snapshot is gone.
  ebs_.unrelated = false;
  ebs_.snapshots["snap-00000003"] = ebs_.snapshots["snap-00000002"];
  ebs_.snapshots.erase("snap-00000002");
  EXPECT_EQ(Taken("snap-00000003").blocks_read, 8u);
  EXPECT_NE(OnlyWarning().find("snap-00000002"), std::string::npos) << OnlyWarning();
  // The volume has grown.
  FakeEbsSnapshot& grown = ebs_.snapshots["snap-00000004"];
  grown = ebs_.snapshots["snap-00000003"];
  grown.gib = 2;
  grown.blocks[4095] = RandomBytes(kBlock, 5);
  EXPECT_EQ(Taken("snap-00000004").blocks_read, 9u);
  EXPECT_NE(OnlyWarning().find("now has 2 GiB"), std::string::npos) << OnlyWarning();
}

TEST_F(EbsBackupTest, TheParentIsOfTheSameVolumeOrAsTold) {
  const std::string first = Taken("snap-00000001").taken.info.id;
  FakeEbsSnapshot& other = ebs_.snapshots["snap-00000009"];
  other = ebs_.snapshots["snap-00000001"];
  other.volume_id = "vol-9";
  EXPECT_EQ(Taken("snap-00000009").taken.info.parent_id, "");
  SnapshotRequest request;
  request.parent = "none";
  EXPECT_EQ(Taken("snap-00000002", request).taken.info.parent_id, "");
  request.parent = first.substr(0, 12);
  const EbsBackupSummary told = Taken("snap-00000002", request);
  EXPECT_EQ(told.taken.info.parent_id, first);
  EXPECT_EQ(told.changed_since, "snap-00000001");
  request.parent = "latest";
  request.reread = true;
  EXPECT_EQ(Taken("snap-00000002", request).blocks_read, 8u);
  EXPECT_TRUE(observer_.warnings.empty());
  request.reread = false;
  WriteSource("file", "x");
  Snapshot();
  EXPECT_EQ(Taken("snap-00000002", request).blocks_read, 8u);
  EXPECT_NE(OnlyWarning().find("does not hold 'vol-1' alone"), std::string::npos);
  request.parent = "deadbeef";
  EXPECT_TRUE(Take("snap-00000002", request).status().Is(StatusCode::kNotFound));
}

// What lies beside a changed block comes from the parent: without it all is read anew.
TEST_F(EbsBackupTest, AParentThatIsDamagedIsDoneWithout) {
  Taken("snap-00000001");
  for (const std::string& key : KeysBelow("meta/")) Remove(key);
  for (const std::string& key : KeysBelow("data/")) Remove(key);
  Reopen(nullptr);
  const auto taken = Take("snap-00000002");
  if (taken.ok()) {
    EXPECT_EQ(taken->blocks_read, 8u);
    ExpectContent(taken->taken.info.id, "snap-00000002");
    EXPECT_NE(OnlyWarning().find("all is read anew"), std::string::npos);
  } else {
    ADD_FAILURE() << taken.status().ToString();
  }
}

TEST_F(EbsBackupTest, SnapshotsThatCannotBeReadAreRefused) {
  Refused(StatusCode::kNotFound, "InvalidSnapshot.NotFound", "snap-0000000f");
  ebs_.snapshots["snap-00000001"].state = "pending";
  Refused(StatusCode::kConflict, "snap-00000001 is pending (45%)", "snap-00000001");
  ebs_.snapshots["snap-00000001"].state = "error";
  Refused(StatusCode::kIo, "in state 'error'", "snap-00000001");
  ebs_.snapshots["snap-00000002"].gib = 0;
  Refused(StatusCode::kIo, "a volume of 0 GiB", "snap-00000002");
}

TEST_F(EbsBackupTest, BlocksThatLieAreRefused) {
  ebs_.edit_block = [](uint64_t index, std::string* bytes, std::string*) {
    if (index == 40) (*bytes)[7] ^= 1;
  };
  Refused(StatusCode::kIo, "block 40 of snap-00000001: its bytes do not fit their checksum",
          "snap-00000001");
  ebs_.edit_block = [](uint64_t index, std::string* bytes, std::string* checksum) {
    if (index != 2047) return;
    bytes->resize(1000);
    *checksum = Base64Encode(Sha256::Of(AsBytes(*bytes)).bytes);
  };
  Refused(StatusCode::kIo, "block 2047 of snap-00000001: 1000 bytes in place of 524288",
          "snap-00000001");
  // A wrong checksum that passes is no reason to fail.
  std::atomic<bool> once = true;
  ebs_.edit_block = [&once](uint64_t, std::string* bytes, std::string*) {
    if (once.exchange(false)) (*bytes)[0] ^= 1;
  };
  Taken("snap-00000001");
}

TEST_F(EbsBackupTest, ListsThatLieAreRefused) {
  const auto lie = [this](const std::string& part, std::function<void(FakeEbs::Json*)> edit) {
    SCOPED_TRACE(part);
    ebs_.edit_page = std::move(edit);
    Refused(StatusCode::kIo, part, "snap-00000001");
  };
  using Json = FakeEbs::Json;
  lie("block 2048, but the volume has 2048",
      [](Json* page) { (*page)["Blocks"][7]["BlockIndex"] = 2048; });
  lie("block 0 comes after block 0", [](Json* page) { (*page)["Blocks"][1]["BlockIndex"] = 0; });
  lie("block 3 comes after block 7", [](Json* page) { (*page)["Blocks"][4]["BlockIndex"] = 3; });
  lie("no list of blocks", [](Json* page) { (*page)["Blocks"][4]["BlockIndex"] = -3; });
  lie("no list of blocks", [](Json* page) { (*page)["Blocks"] = "none"; });
  lie("block 8 has no token", [](Json* page) { (*page)["Blocks"][4].erase("BlockToken"); });
  lie("a volume of 3 GiB; EC2 says 1 GiB", [](Json* page) { (*page)["VolumeSize"] = 3; });
  lie("blocks of 100 bytes", [](Json* page) { (*page)["BlockSize"] = 100; });
  // The second page goes back.
  ebs_.page_size = 4;
  lie("block 0 comes after block 7", [](Json* page) {
    if (!page->contains("NextToken")) (*page)["Blocks"][0]["BlockIndex"] = 0;
  });
  lie("same page again", [](Json* page) { (*page)["NextToken"] = "0"; });
}

TEST(EbsSnapshotIdTest, Ids) {
  EXPECT_TRUE(CheckEbsSnapshotId("snap-0123456789abcdef0").ok());
  EXPECT_TRUE(CheckEbsSnapshotId("snap-01234567").ok());
  for (const char* id : {"", "snap-", "vol-01234567", "snap-0123456", "snap-0123456789abcdef01",
                         "snap-0123456G", "snap-01234567/..", "SNAP-01234567"}) {
    EXPECT_TRUE(CheckEbsSnapshotId(id).Is(StatusCode::kInvalidArgument)) << id;
  }
}

}  // namespace
}  // namespace snapstore::cli
