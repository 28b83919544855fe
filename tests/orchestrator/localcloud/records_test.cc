#include "orchestrator/localcloud/records.h"

#include <gtest/gtest.h>

#include "tests/base/temp_folder.h"

namespace snapstore::localcloud {
namespace {

class RecordsTest : public testing::Test {
 protected:
  void Open() {
    records_.reset();
    auto opened = Records::Open(folder_.File("records"));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    records_ = std::move(*opened);
  }

  TempFolder folder_;
  std::unique_ptr<Records> records_;
};

TEST_F(RecordsTest, WhatIsCommittedIsThereAgain) {
  Open();
  {
    Records::Transaction tx(records_.get());
    tx.Edit("vol-2") = {{"size", 2}};
    tx.Edit("vol-1") = {{"size", 1}};
    tx.Edit("snap-1") = {{"size", 1}};
    ASSERT_TRUE(tx.Commit().ok());
    tx.Remove("vol-2");
    ASSERT_TRUE(tx.Commit().ok());
  }
  Open();
  EXPECT_EQ(records_->Ids("vol-"), std::vector<std::string>{"vol-1"});
  EXPECT_EQ(records_->Find("vol-1")->at("size"), 1);
}

TEST_F(RecordsTest, WhatIsNotCommittedIsUndone) {
  Open();
  {
    Records::Transaction tx(records_.get());
    tx.Edit("vol-1") = {{"size", 1}};
    ASSERT_TRUE(tx.Commit().ok());
    tx.Edit("vol-1")["size"] = 7;
    tx.Edit("vol-3") = {{"size", 3}};
    tx.Remove("vol-1");
  }
  EXPECT_EQ(records_->Find("vol-1")->at("size"), 1);
  EXPECT_EQ(records_->Find("vol-3"), nullptr);
}

TEST_F(RecordsTest, OneProcessHasThem) {
  Open();
  EXPECT_TRUE(Records::Open(folder_.File("records")).status().Is(StatusCode::kConflict));
}

}  // namespace
}  // namespace snapstore::localcloud
