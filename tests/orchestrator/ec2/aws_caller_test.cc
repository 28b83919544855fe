// How AwsCaller behaves over time: what it tries again, and what it must not.
#include "tests/orchestrator/ec2/query_server.h"

namespace snapstore {
namespace {

const QueryAnswer kVolumes = {
    200, "<DescribeVolumesResponse><requestId>r</requestId><volumeSet/></DescribeVolumesResponse>"};
const QueryAnswer kSnapshot = {
    200, "<CreateSnapshotResponse><snapshotId>snap-1</snapshotId></CreateSnapshotResponse>"};

class AwsCallerTest : public QueryServerTest {};

TEST_F(AwsCallerTest, SignsForServiceAndRegion) {
  Serve({kVolumes});
  ASSERT_TRUE(Client().DescribeVolumes({}).ok());
  EXPECT_NE(authorizations_.at(0).find("Credential=KEY1/"), std::string::npos);
  EXPECT_NE(authorizations_.at(0).find("/eu-west-1/ec2/aws4_request"), std::string::npos);
  EXPECT_EQ(forms_.at(0).at("Version"), "2016-11-15");
  EXPECT_EQ(forms_.at(0).at("Action"), "DescribeVolumes");
}

TEST_F(AwsCallerTest, TriesAgainWhatIsThrottled) {
  Serve({Ec2Error(503, "RequestLimitExceeded"), Ec2Error(503, "Unavailable"), kVolumes});
  EXPECT_TRUE(Client().DescribeVolumes({}).ok());
  EXPECT_EQ(forms_.size(), 3u);
}

TEST_F(AwsCallerTest, GivesUpAtTheDeadline) {
  Serve({Ec2Error(503, "RequestLimitExceeded")});
  const auto got = Client().DescribeVolumes({});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.code(), "RequestLimitExceeded");
  EXPECT_TRUE(got.status().Is(StatusCode::kThrottled));
  EXPECT_NE(got.status().message().find("given up after"), std::string::npos);
}

TEST_F(AwsCallerTest, DoesNotTryAgainWhatIsRefused) {
  Serve({Ec2Error(400, "InvalidParameterValue")});
  EXPECT_EQ(Client().DescribeVolumes({}).code(), "InvalidParameterValue");
  EXPECT_EQ(forms_.size(), 1u);
}

// An internal error may have come after the snapshot was made.
TEST_F(AwsCallerTest, DoesNotRepeatWhatWouldMakeTwo) {
  Serve({Ec2Error(500, "InternalError"), kSnapshot});
  EXPECT_EQ(Client().CreateSnapshot("vol-1", "", {}).code(), "InternalError");
  EXPECT_EQ(forms_.size(), 1u);
}

TEST_F(AwsCallerTest, RepeatsWithTheSameToken) {
  Serve({Ec2Error(500, "InternalError"),
         {200, "<CreateVolumeResponse><volumeId>vol-1</volumeId></CreateVolumeResponse>"}});
  CreateVolumeRequest request;
  request.availability_zone = "eu-west-1a";
  request.size_gib = 1;
  ASSERT_TRUE(Client().CreateVolume(request).ok());
  ASSERT_EQ(forms_.size(), 2u);
  EXPECT_EQ(forms_[0].at("ClientToken").size(), 32u);
  EXPECT_EQ(forms_[0].at("ClientToken"), forms_[1].at("ClientToken"));
}

TEST_F(AwsCallerTest, WaitsUntilANewIdIsKnown) {
  Serve({kSnapshot,
         Ec2Error(400, "InvalidSnapshot.NotFound"),
         Ec2Error(400, "InvalidSnapshot.NotFound"),
         {200,
          "<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snapshotId>"
          "<status>pending</status></item></snapshotSet></DescribeSnapshotsResponse>"}});
  ASSERT_TRUE(Client().CreateSnapshot("vol-1", "", {}).ok());
  Ec2Query query;
  query.ids = {"snap-1"};
  const auto got = Client().DescribeSnapshots(query);
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ(got->at(0).state, "pending");
  EXPECT_EQ(forms_.size(), 4u);
}

TEST_F(AwsCallerTest, AnOldIdThatIsUnknownIsGone) {
  Serve({Ec2Error(400, "InvalidSnapshot.NotFound")});
  Ec2Query query;
  query.ids = {"snap-2"};
  EXPECT_TRUE(Client().DescribeSnapshots(query).status().Is(StatusCode::kNotFound));
  EXPECT_EQ(forms_.size(), 1u);
}

TEST_F(AwsCallerTest, FetchesNewCredentialsOnce) {
  Serve({Ec2Error(400, "ExpiredToken"), kVolumes});
  EXPECT_TRUE(Client().DescribeVolumes({}).ok());
  EXPECT_NE(authorizations_.at(1).find("Credential=KEY2/"), std::string::npos);
}

TEST_F(AwsCallerTest, RefusedFreshCredentialsAreAnError) {
  Serve({Ec2Error(400, "ExpiredToken")});
  EXPECT_EQ(Client().DescribeVolumes({}).code(), "ExpiredToken");
  EXPECT_EQ(forms_.size(), 2u);
}

TEST_F(AwsCallerTest, AnAnswerThatIsNoXmlIsAnError) {
  Serve({{200, "so what"}});
  EXPECT_TRUE(Client().DescribeVolumes({}).status().Is(StatusCode::kIo));
}

TEST(AwsServiceOptionsTest, TakesTheEndpointOfTheService) {
  const auto load = [](std::map<std::string, std::string> variables) {
    variables["AWS_CONFIG_FILE"] = "/nowhere/config";
    variables["AWS_SHARED_CREDENTIALS_FILE"] = "/nowhere/credentials";
    return *AwsEnvironment::Load([variables](const std::string& name) {
      const auto found = variables.find(name);
      return found == variables.end() ? std::string() : found->second;
    });
  };
  const auto own = MakeAwsServiceOptions("ec2", load({{"AWS_REGION", "eu-west-1"},
                                                      {"AWS_ENDPOINT_URL", "http://all:1"},
                                                      {"AWS_ENDPOINT_URL_EC2", "http://ec2:2"}}));
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(own->endpoint, "http://ec2:2");
  const auto all = MakeAwsServiceOptions(
      "ec2", load({{"AWS_REGION", "eu-west-1"}, {"AWS_ENDPOINT_URL", "http://all:1"}}));
  EXPECT_EQ(all->endpoint, "http://all:1");
  const auto none = MakeAwsServiceOptions("ec2", load({{"AWS_REGION", "eu-west-1"}}));
  EXPECT_EQ(none->endpoint, "https://ec2.eu-west-1.amazonaws.com");
  EXPECT_FALSE(MakeAwsServiceOptions("ec2", load({})).ok());
  const auto bad = MakeAwsServiceOptions(
      "ec2", load({{"AWS_REGION", "eu-west-1"}, {"AWS_ENDPOINT_URL_EC2", "ftp://x"}}));
  EXPECT_TRUE(bad.status().message().starts_with("AWS_ENDPOINT_URL_EC2: "));
}

}  // namespace
}  // namespace snapstore
