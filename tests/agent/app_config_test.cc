#include "agent/app_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/shell_words.h"

namespace snapstore::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string With(const std::string& field, const std::string& value) {
  const std::pair<const char*, const char*> fields[] = {{"name", "\"BI\""},
                                                        {"runCmd", "\"python3 /srv/app.py\""},
                                                        {"snapshotDestination", "\"my-bucket\""},
                                                        {"snapshotScheduler", "\"*/3 * * * *\""},
                                                        {"externalFiles", "[\"/srv/log.txt\"]"}};
  std::string json;
  for (const auto& [name, standard] : fields) {
    const std::string text = name == field ? value : standard;
    if (text.empty()) continue;
    json += (json.empty() ? "\"" : ",\"") + std::string(name) + "\":" + text;
  }
  return "{\"config\":{" + json + "}}";
}

std::string ErrorWith(const std::string& field, const std::string& value) {
  const auto config = AppConfig::Parse(With(field, value));
  EXPECT_FALSE(config.ok()) << With(field, value);
  return config.ok() ? "" : config.status().message();
}

TEST(AppConfigTest, ReadsTheObjectUsersPost) {
  const auto config = AppConfig::Parse(R"({
    "config": {
      "name": "BI",
      "runCmd": "python3 /home/ec2-user/myapp/print_datetime_app.py --label 'two words'",
      "snapshotDestination": "fs-0123abcd",
      "snapshotScheduler": "*/3 * * * *",
      "externalFiles": ["/home/ec2-user/file1", "/home/ec2-user/myapp/datetime_log.txt"]
    }})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->name, "BI");
  EXPECT_THAT(config->argv, ElementsAre("python3", "/home/ec2-user/myapp/print_datetime_app.py",
                                        "--label", "two words"));
  EXPECT_EQ(config->RepositoryLocation(), "efs://fs-0123abcd");
  EXPECT_EQ(config->schedule.expression(), "*/3 * * * *");
  EXPECT_THAT(config->external_files,
              ElementsAre("/home/ec2-user/file1", "/home/ec2-user/myapp/datetime_log.txt"));
}

TEST(AppConfigTest, TakesTheObjectWithoutItsRootAndWithReadOnlyFields) {
  const auto config = AppConfig::Parse(R"({"id":"apc-7f3a90c2","name":"a","runCmd":"/bin/true",
    "snapshotDestination":"orders-snaps","snapshotScheduler":"@hourly","externalFiles":null})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_TRUE(config->external_files.empty());
  EXPECT_EQ(config->RepositoryLocation(), "s3://orders-snaps");
}

TEST(AppConfigTest, EveryErrorNamesItsField) {
  EXPECT_EQ(ErrorWith("name", ""), "config.name: is required");
  EXPECT_EQ(ErrorWith("name", "7"), "config.name: must be a string");
  EXPECT_EQ(ErrorWith("name", "\"\""), "config.name: must not be empty");
  EXPECT_THAT(ErrorWith("name", "\"" + std::string(256, 'x') + "\""), StartsWith("config.name"));
  EXPECT_EQ(ErrorWith("runCmd", "null"), "config.runCmd: is required");
  EXPECT_THAT(ErrorWith("runCmd", R"("a\u0000b")"), StartsWith("config.runCmd: must not contain"));
  EXPECT_THAT(ErrorWith("runCmd", R"("a 'b")"), StartsWith("config.runCmd: quote '"));
  EXPECT_THAT(ErrorWith("runCmd", R"("a > b")"), HasSubstr("sh -c"));
  EXPECT_THAT(ErrorWith("snapshotScheduler", R"("0 0 30 2 *")"),
              StartsWith("config.snapshotScheduler: cron '0 0 30 2 *': never fires"));
  EXPECT_THAT(ErrorWith("externalFiles", "\"/a\""), StartsWith("config.externalFiles: must be"));
  EXPECT_THAT(ErrorWith("externalFiles", R"(["/a", 1])"), StartsWith("config.externalFiles[1]"));
  EXPECT_THAT(ErrorWith("externalFiles", R"(["a"])"), HasSubstr("'a' is not an absolute path"));
  EXPECT_THAT(ErrorWith("externalFiles", R"(["/a","/a"])"), HasSubstr("'/a' is twice"));
  EXPECT_THAT(ErrorWith("externalFiles", R"(["/a/../b"])"), HasSubstr("plain path"));
  EXPECT_THAT(ErrorWith("externalFiles", R"(["/a/"])"), HasSubstr("plain path"));
}

TEST(AppConfigTest, DestinationIsABucketNameOrAnEfsId) {
  for (const char* good : {"abc", "my.bucket-1", "fs-0123abcd", "fs-0123456789abcdef0"}) {
    EXPECT_TRUE(AppConfig::Parse(With("snapshotDestination", "\"" + std::string(good) + "\"")).ok())
        << good;
  }
  for (const char* bad : {"ab", "<YOUR_S3_BUCKET_NAME>", "Upper", "-abc", "abc-", "a..b",
                          "10.0.0.1", "xn--abc", "name-s3alias", "under_score"}) {
    EXPECT_THAT(ErrorWith("snapshotDestination", "\"" + std::string(bad) + "\""),
                StartsWith("config.snapshotDestination: "))
        << bad;
  }
}

TEST(AppConfigTest, RefusesWhatIsNoConfiguration) {
  for (const char* text : {"", "[", "[]", "\"x\"", R"({"config":[]})", "{\"config\":{},\"x\":1}"}) {
    const auto config = AppConfig::Parse(text);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_THAT(config.status().message(), StartsWith("config")) << text;
  }
  const auto misspelt = AppConfig::Parse(R"({"config":{"externalFile":[]}})");
  ASSERT_FALSE(misspelt.ok());
  EXPECT_EQ(misspelt.status().message(), "config.externalFile: unknown field");
}

TEST(ShellWordsTest, QuotesLikeAShell) {
  const auto words =
      SplitCommand(R"(  a  'b "c"' "d 'e' \" \$ \n" f\ g '' x"y"'z' $HOME *.c --k=v )");
  ASSERT_TRUE(words.ok()) << words.status().ToString();
  EXPECT_THAT(*words, ElementsAre("a", "b \"c\"", "d 'e' \" $ \\n", "f g", "", "xyz", "$HOME",
                                  "*.c", "--k=v"));
}

TEST(ShellWordsTest, RefusesWhatOnlyAShellUnderstands) {
  for (const char* line :
       {"a | b", "a > b", "a; b", "a & ", "(a)", "a\nb", "", "  ", "a '", "a \"b", "a \\"}) {
    EXPECT_FALSE(SplitCommand(line).ok()) << line;
  }
}

}  // namespace
}  // namespace snapstore::agent
