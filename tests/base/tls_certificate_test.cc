#include "base/tls_certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/base/temp_folder.h"
#include "tests/base/test_certificate.h"

namespace snapstore {
namespace {

using ::testing::HasSubstr;

class TlsCertificateTest : public testing::Test {
 protected:
  void Make(const std::string& name) {
    const Status made =
        MakeSelfSignedCertificate(Certificate(name), Key(name), {"127.0.0.1", "::1", "localhost"});
    ASSERT_TRUE(made.ok()) << made.ToString();
  }
  std::string Certificate(const std::string& name) const { return folder_.File(name + ".pem"); }
  std::string Key(const std::string& name) const { return folder_.File(name + "-key.pem"); }

  const TempFolder folder_;
};

TEST_F(TlsCertificateTest, WhatIsMadeIsTakenAndEachIsAnother) {
  Make("a");
  Make("b");
  const auto a = CheckTlsFiles(Certificate("a"), Key("a"));
  ASSERT_TRUE(a.ok()) << a.status().ToString();
  EXPECT_TRUE(IsFingerprint(*a)) << *a;
  const auto b = CheckTlsFiles(Certificate("b"), Key("b"));
  ASSERT_TRUE(b.ok()) << b.status().ToString();
  EXPECT_NE(*a, *b);
  struct stat info {};
  ASSERT_EQ(stat(Key("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(TlsCertificateTest, AKeyOfAnotherCertificateIsRefused) {
  Make("a");
  Make("b");
  const Status mixed = CheckTlsFiles(Certificate("a"), Key("b")).status();
  EXPECT_TRUE(mixed.Is(StatusCode::kInvalidArgument));
  EXPECT_THAT(mixed.message(), HasSubstr("is not the key of"));
}

TEST_F(TlsCertificateTest, DatesThatDoNotFitAreRefused) {
  WriteTestCertificate(Certificate("old"), Key("old"), -7200, -3600);
  EXPECT_THAT(CheckTlsFiles(Certificate("old"), Key("old")).status().message(),
              HasSubstr("has expired"));
  WriteTestCertificate(Certificate("new"), Key("new"), 3600, 7200);
  EXPECT_THAT(CheckTlsFiles(Certificate("new"), Key("new")).status().message(),
              HasSubstr("is not valid yet"));
}

TEST_F(TlsCertificateTest, WhatIsNoneIsNamed) {
  Make("a");
  std::ofstream(folder_.File("text")) << "nothing";
  EXPECT_THAT(CheckTlsFiles(folder_.File("text"), Key("a")).status().message(),
              HasSubstr("holds no certificate"));
  EXPECT_THAT(CheckTlsFiles(Certificate("a"), folder_.File("text")).status().message(),
              HasSubstr("holds no key"));
  EXPECT_THAT(CheckTlsFiles(folder_.File("away"), Key("a")).status().message(), HasSubstr("away"));
}

TEST_F(TlsCertificateTest, AFingerprintIsSixtyFourHexadecimalDigits) {
  EXPECT_TRUE(IsFingerprint(std::string(64, 'a')));
  EXPECT_FALSE(IsFingerprint(std::string(63, 'a')));
  EXPECT_FALSE(IsFingerprint(std::string(64, 'g')));
  EXPECT_FALSE(IsFingerprint(std::string(64, 'A')));
}

}  // namespace
}  // namespace snapstore
