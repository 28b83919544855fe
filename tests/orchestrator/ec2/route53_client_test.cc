// The client of Route 53: what it sends, and what it makes of answers.
#include "orchestrator/ec2/route53_client.h"

#include "tests/orchestrator/ec2/query_server.h"

namespace snapstore {
namespace {

class Route53Test : public QueryServerTest {
 protected:
  std::unique_ptr<Route53Client> Route53(const std::string& region) {
    const AwsEnvironment environment =
        *AwsEnvironment::Load([this, &region](const std::string& name) -> std::string {
          if (name == "AWS_REGION") return region;
          if (name == "AWS_ENDPOINT_URL_ROUTE_53") return server_.url();
          return name == "AWS_CONFIG_FILE" || name == "AWS_SHARED_CREDENTIALS_FILE" ? "/nowhere"
                                                                                    : "";
        });
    return *Route53Client::FromEnvironment(environment, Chain());
  }

  void AnswerChanges(int status, const std::string& body) {
    server_->Post("/2013-04-01/hostedzone/Z1/rrset/",
                  [=, this](const httplib::Request& request, httplib::Response& out) {
                    asked_ = request.body;
                    authorization_ = request.get_header_value("Authorization");
                    out.status = status;
                    out.set_content(body, "text/xml");
                  });
    server_.Start();
  }

  std::string asked_;
  std::string authorization_;
};

TEST_F(Route53Test, ChangesAreSignedForTheGlobalRegion) {
  AnswerChanges(200,
                "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id></ChangeInfo>"
                "</ChangeResourceRecordSetsResponse>");
  const auto done = Route53("eu-west-1")
                        ->ChangeRecord("/hostedzone/Z1", Route53Change::kUpsert, "a.example.com",
                                       "A", "10.0.0.1", 60);
  ASSERT_TRUE(done.ok()) << done.status().ToString();
  EXPECT_EQ(done->request_id, "/change/C1");
  EXPECT_NE(authorization_.find("/us-east-1/route53/aws4_request"), std::string::npos);
  EXPECT_NE(asked_.find("<Action>UPSERT</Action><ResourceRecordSet><Name>a.example.com</Name>"
                        "<Type>A</Type><TTL>60</TTL><ResourceRecords><ResourceRecord>"
                        "<Value>10.0.0.1</Value>"),
            std::string::npos)
      << asked_;
}

TEST_F(Route53Test, ADeletionOfWhatIsNotThere) {
  AnswerChanges(400,
                "<InvalidChangeBatch><Messages><Message>Tried to delete resource record set "
                "[name='a.', type='A'] but it was not found</Message></Messages><RequestId>r"
                "</RequestId></InvalidChangeBatch>");
  const auto done =
      Route53("cn-north-1")->ChangeRecord("Z1", Route53Change::kDelete, "a", "A", "10.0.0.1", 60);
  EXPECT_EQ(done.code(), "InvalidChangeBatch");
  EXPECT_TRUE(done.status().Is(StatusCode::kNotFound)) << done.status().ToString();
  EXPECT_NE(authorization_.find("/cn-northwest-1/route53/"), std::string::npos);
}

TEST_F(Route53Test, RecordsOverPages) {
  std::vector<std::string> asked;
  server_->Get("/2013-04-01/hostedzone/Z1/rrset", [&asked](const httplib::Request& request,
                                                           httplib::Response& out) {
    asked.push_back(request.get_param_value("name") + " " + request.get_param_value("type"));
    const bool first = asked.size() == 1;
    out.set_content(std::string("<ListResourceRecordSetsResponse><ResourceRecordSets>"
                                "<ResourceRecordSet><Name>\\052.Example.com.</Name><Type>") +
                        (first ? "A" : "AAAA") +
                        "</Type><TTL>5</TTL><ResourceRecords><ResourceRecord><Value>x</Value>"
                        "</ResourceRecord></ResourceRecords></ResourceRecordSet>"
                        "</ResourceRecordSets><IsTruncated>" +
                        (first ? "true" : "false") +
                        "</IsTruncated><NextRecordName>\\052.example.com.</NextRecordName>"
                        "<NextRecordType>AAAA</NextRecordType></ListResourceRecordSetsResponse>",
                    "text/xml");
  });
  server_.Start();
  const auto got = Route53("eu-west-1")->ListRecords("Z1", "*.example.com", "");
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  ASSERT_EQ(got->size(), 2u);
  EXPECT_EQ(got->at(0).name, "*.example.com");
  EXPECT_EQ(got->at(0).ttl_seconds, 5);
  EXPECT_EQ(got->at(1).type, "AAAA");
  EXPECT_EQ(asked.at(1), "\\052.example.com. AAAA");
}

}  // namespace
}  // namespace snapstore
