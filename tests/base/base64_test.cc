#include "base/base64.h"

#include <gtest/gtest.h>

namespace snapstore {
namespace {

TEST(Base64Test, EncodesAsInTheStandard) {
  // RFC 4648, section 10.
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, text] : vectors) {
    EXPECT_EQ(Base64Encode(AsBytes(plain)), text);
    const auto decoded = Base64Decode(text);
    ASSERT_TRUE(decoded.ok()) << text;
    EXPECT_EQ(*decoded, plain);
  }
}

TEST(Base64Test, AnyBytesComeBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all.push_back(static_cast<char>(byte));
    const auto back = Base64Decode(Base64Encode(AsBytes(all)));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, all);
  }
}

TEST(Base64Test, RefusesWhatIsNotWhole) {
  for (const char* text : {"Zg", "Zg=", "Zg===", "Z", "=", "====", "Z===", "Zm8=Zm8=", "Zm 8",
                           "Zm9v\n", " Zm9v", "Zm-_", "Zm9\xc3"}) {
    EXPECT_TRUE(Base64Decode(text).status().Is(StatusCode::kInvalidArgument)) << text;
  }
}

}  // namespace
}  // namespace snapstore
