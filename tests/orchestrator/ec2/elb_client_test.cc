// Which endpoints the client of load balancers calls.
#include "orchestrator/ec2/elb_client.h"

#include "tests/orchestrator/ec2/query_server.h"

namespace snapstore {
namespace {

using Variables = std::map<std::string, std::string>;

const QueryAnswer kDone = {
    200, "<R><ResponseMetadata><RequestId>req-7</RequestId></ResponseMetadata></R>"};

class ElbEndpointTest : public QueryServerTest {
 protected:
  // Registers with both kinds; the forms that came to the server of this test.
  std::vector<Form> FormsWith(Variables variables) {
    variables.insert({{"AWS_REGION", "eu-west-1"},
                      {"AWS_CONFIG_FILE", "/nowhere"},
                      {"AWS_SHARED_CREDENTIALS_FILE", "/nowhere"}});
    const AwsEnvironment environment =
        *AwsEnvironment::Load([&variables](const std::string& name) -> std::string {
          const auto found = variables.find(name);
          return found == variables.end() ? "" : found->second;
        });
    auto client = ElbClient::FromEnvironment(environment, Chain());
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    forms_.clear();
    EXPECT_TRUE((*client)->RegisterTarget("arn:tg", "i-1").ok());
    EXPECT_EQ((*client)->RegisterInstance("old", "i-1")->request_id, "req-7");
    return forms_;
  }

  void ServeBoth() {
    Serve({kDone});
    other_->Post("/", [](const httplib::Request&, httplib::Response& out) {
      out.set_content(kDone.body, "text/xml");
    });
    other_.Start();
  }

  TestServer other_;
};

TEST_F(ElbEndpointTest, EachKindHasItsOwn) {
  ServeBoth();
  std::vector<Form> forms =
      FormsWith({{"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", server_.url()},
                 {"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING", other_.url()}});
  ASSERT_EQ(forms.size(), 1u);
  EXPECT_EQ(forms[0].at("Action"), "RegisterTargets");
  forms = FormsWith({{"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", other_.url()},
                     {"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING", server_.url()}});
  ASSERT_EQ(forms.size(), 1u);
  EXPECT_EQ(forms[0].at("Action"), "RegisterInstancesWithLoadBalancer");
}

TEST_F(ElbEndpointTest, WhatIsNotSetFallsBack) {
  ServeBoth();
  EXPECT_EQ(FormsWith({{"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING", server_.url()},
                       {"AWS_ENDPOINT_URL", other_.url()}})
                .size(),
            2u);
  EXPECT_EQ(FormsWith({{"AWS_ENDPOINT_URL", server_.url()}}).size(), 2u);
  // As AWS's own tools do: what is said of target groups says nothing of the others.
  const std::vector<Form> forms =
      FormsWith({{"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", other_.url()},
                 {"AWS_ENDPOINT_URL", server_.url()}});
  ASSERT_EQ(forms.size(), 1u);
  EXPECT_EQ(forms[0].at("Version"), "2012-06-01");
}

}  // namespace
}  // namespace snapstore
