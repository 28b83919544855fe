#include "orchestrator/ec2/ebs_direct.h"

#include "orchestrator/ec2/elb_client.h"
#include "orchestrator/ec2/sts_identity.h"
#include "tests/orchestrator/ec2/query_server.h"

namespace snapstore {
namespace {

class EbsDirectTest : public QueryServerTest {
 protected:
  EbsDirect& Direct() {
    if (direct_ == nullptr) {
      server_.Start();
      AwsServiceOptions options = Options();
      options.service = "ebs";
      direct_ = std::make_unique<EbsDirect>(options, Chain());
    }
    return *direct_;
  }

  std::unique_ptr<EbsDirect> direct_;
};

TEST_F(EbsDirectTest, ListsChangedBlocksOverPages) {
  server_->Get("/snapshots/snap-2/changedblocks", [](const httplib::Request& request,
                                                     httplib::Response& out) {
    EXPECT_EQ(request.get_param_value("firstSnapshotId"), "snap-1");
    const bool second = request.get_param_value("pageToken") == "p2";
    out.set_content(second ? R"({"BlockSize":524288,"VolumeSize":8,"ExpiryTime":1592976647.009,
                                 "ChangedBlocks":[{"BlockIndex":6001,"SecondBlockToken":"c"}]})"
                           : R"({"BlockSize":524288,"VolumeSize":8,"ExpiryTime":1592976647.009,
                                 "NextToken":"p2","ChangedBlocks":[{"BlockIndex":0,
                                 "FirstBlockToken":"a","SecondBlockToken":"b"}]})",
                    "application/json");
  });
  const auto got = Direct().ListChangedBlocks("snap-1", "snap-2");
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ(got->block_bytes, 524288u);
  EXPECT_EQ(got->volume_gib, 8u);
  ASSERT_EQ(got->blocks.size(), 2u);
  EXPECT_EQ(got->blocks[0].token, "b");
  EXPECT_EQ(got->blocks[0].other_token, "a");
  EXPECT_EQ(got->blocks[1].index, 6001u);
  EXPECT_EQ(got->blocks[1].other_token, "");
}

TEST_F(EbsDirectTest, AListWithoutABlockSizeIsRefused) {
  server_->Get("/snapshots/snap-1/blocks", [](const httplib::Request&, httplib::Response& out) {
    out.set_content(R"({"Blocks":[{"BlockIndex":1,"BlockToken":"t"}]})", "application/json");
  });
  EXPECT_TRUE(Direct().ListSnapshotBlocks("snap-1").status().Is(StatusCode::kIo));
}

TEST_F(EbsDirectTest, VerifiesABlock) {
  server_->Get("/snapshots/snap-1/blocks/3",
               [](const httplib::Request& request, httplib::Response& out) {
                 out.set_header("x-amz-Checksum-Algorithm", "SHA256");
                 // Of "abc" (FIPS 180-4, example 1).
                 out.set_header("x-amz-Checksum", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
                 out.set_content(request.get_param_value("blockToken") == "good" ? "abc" : "abd",
                                 "application/octet-stream");
               });
  const auto good = Direct().GetSnapshotBlock("snap-1", 3, "good");
  ASSERT_TRUE(good.ok()) << good.status().ToString();
  EXPECT_EQ(AsText(*good), "abc");
  EXPECT_TRUE(Direct().GetSnapshotBlock("snap-1", 3, "bad").status().Is(StatusCode::kIo));
}

class OtherServicesTest : public QueryServerTest {};

TEST_F(OtherServicesTest, TargetHealth) {
  Serve({{200,
          "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions>"
          "<member><HealthCheckPort>80</HealthCheckPort><TargetHealth><State>unhealthy</State>"
          "<Reason>Target.FailedHealthChecks</Reason></TargetHealth><Target><Port>80</Port><Id>"
          "i-0376fadf</Id></Target></member></TargetHealthDescriptions>"
          "</DescribeTargetHealthResult></DescribeTargetHealthResponse>"}});
  ElbClient elb(Options(), Chain());
  const auto got = elb.DescribeTargetHealth("arn:tg", "i-0376fadf");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->at(0).state, "unhealthy");
  EXPECT_EQ(got->at(0).reason, "Target.FailedHealthChecks");
  EXPECT_EQ(forms_.at(0).at("Targets.member.1.Id"), "i-0376fadf");
  EXPECT_EQ(forms_.at(0).at("Version"), "2015-12-01");
}

TEST_F(OtherServicesTest, CallerIdentity) {
  Serve({{200,
          "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/a"
          "</Arn><UserId>AIDA</UserId><Account>123456789012</Account>"
          "</GetCallerIdentityResult></GetCallerIdentityResponse>"}});
  const AwsEnvironment environment =
      *AwsEnvironment::Load([this](const std::string& name) -> std::string {
        if (name == "AWS_REGION") return "eu-west-1";
        if (name == "AWS_ENDPOINT_URL_STS") return server_.url();
        return name == "AWS_CONFIG_FILE" || name == "AWS_SHARED_CREDENTIALS_FILE" ? "/nowhere" : "";
      });
  const auto got = GetCallerIdentity(environment, Chain());
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ(got->account, "123456789012");
  EXPECT_NE(authorizations_.at(0).find("/eu-west-1/sts/"), std::string::npos);
}

}  // namespace
}  // namespace snapstore
