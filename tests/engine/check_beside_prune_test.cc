// Invariant 8: a check beside a prune speaks of no damage that there is not. The prune runs whole
// between two operations of the check, between each two in turn.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>

#include "tests/engine/prune_fixture.h"

namespace snapstore {
namespace {

class Invariant8Check : public PruneFixture {
 protected:
  // What is garbage for the greater part, so that a prune moves what is needed and deletes the
  // rest.
  void MakeRepository() {
    for (int i = 0; i < 24; ++i) {
      WriteSource("f" + std::to_string(i), RandomBytes(40'000, static_cast<uint64_t>(i)));
    }
    const std::string old = Snapshot();
    for (int i = 0; i < 16; ++i) std::filesystem::remove(source("f" + std::to_string(i)));
    kept_ = Snapshot();
    WriteSource("more", RandomBytes(100'000, 99));
    other_ = Snapshot();
    Forget(old);
    before_ = Objects();
  }
  void Reset() {
    for (const auto& [key, bytes] : Objects()) Remove(key);
    for (const auto& [key, bytes] : before_) Put(key, bytes);
    for (const char* name : {"cache-janitor", "cache-checker"}) {
      std::filesystem::remove_all(folder_.File(name));
    }
  }
  // Runs `beside` ahead of the check's `at`-th operation. False in *ran: it has fewer.
  Result<CheckReport> CheckAmid(const CheckOptions& options, int at,
                                const std::function<void()>& beside, bool* ran) {
    std::atomic<int> operations = 0;
    std::atomic<bool> began = false;
    std::atomic<bool> begin = false;
    const auto node = Node("checker", [&](StoreOp, const std::string&) {
      if (!begin || ++operations != at) return;
      began = true;
      beside();
    });
    begin = true;  // opening a repository is not part of it
    Result<CheckReport> report = CheckRepository(*node, options, nullptr);
    *ran = began;
    return report;
  }
  // How often the check was interrupted.
  int ExpectNoDamage(const CheckOptions& options, const std::function<void()>& beside) {
    for (int at = 1;; ++at) {
      SCOPED_TRACE(at);
      Reset();
      bool ran = false;
      const Result<CheckReport> report = CheckAmid(options, at, beside, &ran);
      EXPECT_TRUE(report.ok()) << report.status().ToString();
      EXPECT_EQ(report.ok() ? Describe(*report) : "", "");
      if (!ran || HasFailure()) return at - 1;
    }
  }

  std::string kept_;
  std::string other_;
  std::map<std::string, Bytes> before_;
};

TEST_F(Invariant8Check, APruneThatMovesChunksIsNoDamage) {
  MakeRepository();
  const auto prune = [&] { EXPECT_GE(Prune().packs_deleted, 1u); };
  EXPECT_GE(ExpectNoDamage({}, prune), 10);
  EXPECT_GE(ExpectNoDamage({.read_data = true}, prune), 10);
}

TEST_F(Invariant8Check, ASnapshotThatIsForgottenMeanwhileIsNoDamage) {
  MakeRepository();
  const auto forget = [&] { Forget(other_); };
  EXPECT_GE(ExpectNoDamage({}, forget), 10);
  const auto both = [&] {
    Forget(other_);
    EXPECT_GE(Prune().packs_deleted, 1u);
  };
  EXPECT_GE(ExpectNoDamage({.read_data = true}, both), 10);
}

TEST_F(Invariant8Check, ACheckOfOneSnapshotFindsWhereAPruneHasMovedIt) {
  MakeRepository();
  const auto both = [&] {
    Forget(other_);
    EXPECT_GE(Prune().packs_deleted, 1u);
  };
  EXPECT_GE(ExpectNoDamage({.read_data = true, .snapshots = {kept_}}, both), 6);
}

TEST_F(Invariant8Check, ACheckOfASnapshotThatIsForgottenSaysSo) {
  MakeRepository();
  bool ran = false;
  // Ahead of the packs: its manifest is listed by then.
  const auto report = CheckAmid(
      {.snapshots = {other_}}, 2, [&] { Forget(other_); }, &ran);
  ASSERT_TRUE(ran);
  EXPECT_TRUE(report.status().Is(StatusCode::kNotFound)) << report.status().ToString();
  EXPECT_NE(report.status().message().find("forgotten"), std::string::npos);
}

TEST_F(Invariant8Check, AllDataIsReadOnceAlsoWhenThePruneMovesIt) {
  MakeRepository();
  const auto node = Node("checker", [&, done = false](StoreOp op, const std::string& key) mutable {
    if (done || op != StoreOp::kGet || !key.starts_with("index/")) return;
    done = true;
    EXPECT_GE(Prune().packs_deleted, 1u);
    // What was moved is damaged where it lies now, and was whole where it lay.
    for (const std::string& pack : KeysBelow("data/")) {
      if (!before_.contains(pack)) FlipByte(pack, 100);
    }
  });
  const auto report = CheckRepository(*node, {.read_data = true}, nullptr);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_NE(Describe(*report), "");
  EXPECT_EQ(report->packs_read, report->packs);
  EXPECT_EQ(report->packs, KeysBelow("data/").size() + KeysBelow("meta/").size());
}

TEST_F(Invariant8Check, DamageIsToldBesideWritersAndForgets) {
  MakeRepository();
  std::string lost;
  for (const auto& [key, bytes] : before_) {
    if (key.starts_with("data/") && bytes.size() < 200'000) lost = key;  // of "more" alone
  }
  ASSERT_NE(lost, "");
  before_.erase(lost);
  const auto add_and_forget = [&] {
    WriteSource("new", RandomBytes(50'000, 7));
    EXPECT_TRUE(Take(*Node("writer"), source("new")).ok());
    Forget(kept_);
  };
  for (int at = 1; at < 12; ++at) {
    SCOPED_TRACE(at);
    Reset();
    bool ran = false;
    const Result<CheckReport> report = CheckAmid({}, at, add_and_forget, &ran);
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    EXPECT_TRUE(ran);
    EXPECT_NE(Describe(*report).find(lost), std::string::npos) << Describe(*report);
  }
}

TEST_F(Invariant8Check, WhatNeverHoldsStillIsBusyAndNotDamaged) {
  MakeRepository();
  std::deque<std::string> others;
  for (int i = 0; i < 12; ++i) {
    WriteSource("more", RandomBytes(1000, static_cast<uint64_t>(i)));
    others.push_back(Snapshot());
  }
  for (const std::string& key : KeysBelow("data/")) FlipByte(key, 100);
  const auto node = Node("checker", [&](StoreOp op, const std::string& key) {
    if (op != StoreOp::kGet || key != "config" || others.empty()) return;
    Forget(others.front());
    others.pop_front();
  });
  const auto report = CheckRepository(*node, {.read_data = true}, nullptr);
  EXPECT_TRUE(report.status().Is(StatusCode::kConflict)) << report.status().ToString();
  EXPECT_FALSE(others.empty()) << "it gives up";
}

}  // namespace
}  // namespace snapstore
