#include "uploader/http/url.h"

#include <gtest/gtest.h>

namespace snapstore {
namespace {

TEST(Url, EncodesAllButUnreservedBytes) {
  EXPECT_EQ(PercentEncode("aZ09-._~"), "aZ09-._~");
  EXPECT_EQ(PercentEncode("a b/c+d\xc3\xa9"), "a%20b%2Fc%2Bd%C3%A9");
  EXPECT_EQ(PercentEncode("a b/c", /*keep_slash=*/true), "a%20b/c");
}

TEST(Url, DecodesWhatItEncodes) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(*PercentDecode(PercentEncode(all)), all);
  EXPECT_EQ(*PercentDecode("a+b"), "a+b");
  for (const char* broken : {"%", "%4", "a%zz", "%%41"}) {
    EXPECT_TRUE(PercentDecode(broken).status().Is(StatusCode::kInvalidArgument)) << broken;
  }
}

TEST(Url, OrdersQueriesByEncodedNameAndValue) {
  EXPECT_EQ(EncodeQuery({}), "");
  EXPECT_EQ(EncodeQuery({{"b", "2"}, {"a", "z"}, {"a", "&"}, {"B", ""}}), "B=&a=%26&a=z&b=2");
}

TEST(Url, TakesUrlsApart) {
  const Url url = *ParseUrl("https://host.example:8443/a/b");
  EXPECT_EQ(url.Origin(), "https://host.example:8443");
  EXPECT_EQ(url.path, "/a/b");
  EXPECT_EQ(ParseUrl("http://host:80")->Authority(), "host");
  EXPECT_EQ(ParseUrl("http://[fd00:ec2::254]")->Authority(), "[fd00:ec2::254]");
  EXPECT_EQ(ParseUrl("http://[::1]:9000/x")->Authority(), "[::1]:9000");
}

TEST(Url, RefusesWhatIsNone) {
  for (const char* text :
       {"", "host", "ftp://host", "http://", "http:///path", "http://h:0", "http://h:65536",
        "http://h:x", "http://user@h", "http://h?a=b", "http://h/a b"}) {
    EXPECT_TRUE(ParseUrl(text).status().Is(StatusCode::kInvalidArgument)) << text;
  }
}

}  // namespace
}  // namespace snapstore
