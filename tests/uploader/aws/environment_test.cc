#include "uploader/aws/environment.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

AwsEnvironment::Variables From(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) {
    const auto it = variables.find(name);
    return it == variables.end() ? std::string() : it->second;
  };
}

TEST(AwsFile, ReadsProfilesOfBothKinds) {
  const AwsProfiles config = *ParseAwsFile(
      "# comment\n"
      "[default]\n"
      "Region = eu-west-1 ; where it runs\n"
      "s3 =\n"
      "  max_concurrent_requests = 20\n"
      "\n"
      "[profile two words]\r\n"
      "role_arn=arn:aws:iam::1:role/r#1\r\n"
      "[services x]\n"
      "endpoint_url = http://ignored\n",
      AwsFileKind::kConfig);
  ASSERT_EQ(config.size(), 2u);
  EXPECT_EQ(config.at("default").at("region"), "eu-west-1");
  EXPECT_EQ(config.at("default").at("s3"), "");
  EXPECT_EQ(config.at("default").size(), 2u);
  EXPECT_EQ(config.at("two words").at("role_arn"), "arn:aws:iam::1:role/r#1");
  const AwsProfiles secrets =
      *ParseAwsFile("[a]\naws_secret_access_key = x+/=\n[a]\nk=v", AwsFileKind::kCredentials);
  EXPECT_EQ(secrets.at("a").at("aws_secret_access_key"), "x+/=");
  EXPECT_EQ(secrets.at("a").at("k"), "v");
}

TEST(AwsFile, NamesTheBrokenLineAndNotItsText) {
  for (const char* text : {"[a]\nhush", "hush = before any section", "[a\n", "\n[a]\n= hush"}) {
    const Result<AwsProfiles> read = ParseAwsFile(text, AwsFileKind::kCredentials);
    ASSERT_TRUE(read.status().Is(StatusCode::kInvalidArgument)) << text;
    EXPECT_EQ(read.status().message().find("hush"), std::string::npos);
    EXPECT_NE(read.status().message().find("line "), std::string::npos);
  }
}

class AwsEnvironmentTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.File(name)) << text;
    return folder_.File(name);
  }

  TempFolder folder_;
};

TEST_F(AwsEnvironmentTest, DoesWithoutAnyFile) {
  const Result<AwsEnvironment> loaded = AwsEnvironment::Load(From({{"HOME", folder_.path()}}));
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ(loaded->Region(), "");
  EXPECT_EQ(loaded->profile_name(), "default");
  EXPECT_EQ(loaded->Profile("default"), nullptr);
}

TEST_F(AwsEnvironmentTest, PutsVariablesBeforeFilesAndSecretsBeforeConfiguration) {
  const std::string config = Write("config",
                                   "[default]\nregion = a\nendpoint_url = http://file\n"
                                   "[profile p]\nregion = b\naws_access_key_id = old\n");
  const std::string secrets = Write("secrets", "[p]\naws_access_key_id = new\n");
  const std::map<std::string, std::string> files = {{"AWS_CONFIG_FILE", config},
                                                    {"AWS_SHARED_CREDENTIALS_FILE", secrets}};
  auto variables = files;
  AwsEnvironment plain = *AwsEnvironment::Load(From(variables));
  EXPECT_EQ(plain.Region(), "a");
  EXPECT_EQ(plain.Endpoint("S3"), "http://file");
  variables["AWS_PROFILE"] = "p";
  variables["AWS_ENDPOINT_URL_S3"] = "http://s3";
  variables["AWS_ENDPOINT_URL"] = "http://all";
  AwsEnvironment chosen = *AwsEnvironment::Load(From(variables));
  EXPECT_EQ(chosen.Region(), "b");
  EXPECT_EQ(chosen.Profile("p")->at("aws_access_key_id"), "new");
  EXPECT_EQ(chosen.Endpoint("S3"), "http://s3");
  EXPECT_EQ(chosen.Endpoint("STS"), "http://all");
  variables["AWS_REGION"] = "c";
  EXPECT_EQ(AwsEnvironment::Load(From(variables))->Region(), "c");
}

TEST_F(AwsEnvironmentTest, SaysWhatIsWrongWithFiles) {
  const std::string broken = Write("broken", "nonsense");
  EXPECT_TRUE(AwsEnvironment::Load(From({{"AWS_CONFIG_FILE", broken}}))
                  .status()
                  .Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(AwsEnvironment::Load(From({{"HOME", folder_.path()}, {"AWS_PROFILE", "gone"}}))
                  .status()
                  .Is(StatusCode::kNotFound));
}

}  // namespace
}  // namespace snapstore
