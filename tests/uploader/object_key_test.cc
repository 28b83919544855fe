#include <gtest/gtest.h>

#include "base/random.h"
#include "uploader/object_store.h"

namespace snapstore {
namespace {

TEST(ObjectKey, AcceptsPlainNames) {
  for (const std::string& text :
       {std::string("a"), std::string("packs/0f/0f3e"), std::string("a.b-c_d/..."),
        std::string(".x"), std::string("0"), std::string(255, 'a')}) {
    const Result<ObjectKey> key = ObjectKey::Parse(text);
    ASSERT_TRUE(key.ok()) << text;
    EXPECT_EQ(key->text(), text);
  }
}

TEST(ObjectKey, RefusesWhatCouldLeaveTheStoreOrNeedQuoting) {
  const std::string too_long(256, 'a');
  const std::string with_nul("a\0b", 3);
  for (const std::string& text :
       {std::string(), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("a/../b"), std::string("a/."),
        std::string("A"), std::string("a b"), std::string("a+b"), std::string("é"),
        std::string("a\n"), std::string("a%2f"), std::string("+tmp/x"), too_long, with_nul}) {
    EXPECT_TRUE(ObjectKey::Parse(text).status().Is(StatusCode::kInvalidArgument)) << text;
  }
}

TEST(ObjectKey, EveryByteIsEitherPlainOrRefused) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    EXPECT_EQ(ObjectKey::Parse(std::string("k") + c).ok(), kPlain.find(c) != kPlain.npos) << byte;
  }
}

TEST(ObjectKeyDeathTest, AWrongKeyOfOurOwnIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(ObjectKey("No"), "check failed");
}

}  // namespace
}  // namespace snapstore
