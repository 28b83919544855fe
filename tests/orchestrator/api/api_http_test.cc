// What holds for every call: envelope, tokens, accounts, limits.
#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/orchestrator/api/api_fixture.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

TEST_F(ApiTest, TheEnvelopeIsTheDocumentedOne) {
  const Answer answer =
      Call("POST", std::string(kConfigs) + "?accountId=act-1&x=1", kDocumentedConfig);
  EXPECT_EQ(answer.status, 200);
  const Json& request = answer.body["request"];
  EXPECT_THAT(request["id"].get<std::string>(), MatchesRegex("[0-9a-f-]{36}"));
  EXPECT_EQ(request["url"], std::string(kConfigs) + "?accountId=act-1&x=1");
  EXPECT_EQ(request["method"], "POST");
  EXPECT_THAT(request["timestamp"].get<std::string>(), MatchesRegex("....-..-..T..:..:..[.]...Z"));
  EXPECT_EQ(answer.response()["kind"], "spotinst:aws:ec2:apiApplicationPersistencyConfig");
  EXPECT_EQ(answer.response()["count"], 1);
  EXPECT_EQ(answer.response()["status"]["message"], "OK");
  EXPECT_THAT(answer.item()["id"].get<std::string>(), MatchesRegex("apc-[0-9a-f]{8}"));
}

TEST_F(ApiTest, WithoutAGoodTokenTheAnswerIsBare401) {
  const std::string expired = state_->AddToken({"act-1"}, "", std::chrono::seconds(-5))->text;
  for (const std::string& token : {std::string(), std::string("x"), token_ + "0", expired}) {
    for (const char* path : {kNodes, "/nowhere"}) {
      const Answer answer = CallAs(token, "GET", path);
      EXPECT_EQ(answer.status, 401);
      EXPECT_FALSE(answer.response().contains("errors"));
    }
  }
}

TEST_F(ApiTest, AnAccountIsSeenByItsTokensOnly) {
  const std::string node = NewNode();
  EXPECT_THAT(CallAs(foreign_token_, "GET", PathOf(node, "?accountId=act-1")).error(),
              StartsWith("CANT_ACCESS_ACCOUNT accountId"));
  EXPECT_EQ(CallAs(foreign_token_, "GET", PathOf(node, "?accountId=act-1")).status, 403);
  EXPECT_EQ(Call("GET", PathOf(node, "?accountId=moon")).status, 400);
  // Its own account does not have it, and neither has the token's other one.
  for (const char* method : {"GET", "DELETE"}) {
    EXPECT_THAT(CallAs(foreign_token_, method, PathOf(node)).error(),
                StartsWith("MANAGED_INSTANCE_DOESNT_EXIST managedInstanceId"));
  }
  EXPECT_EQ(Call("GET", PathOf(node, "?accountId=act-3")).status, 400);
  EXPECT_EQ(Call("GET", std::string(kNodes) + "?accountId=act-3").response()["count"], 0);
  EXPECT_EQ(Call("GET", PathOf(node)).status, 200);
}

TEST_F(ApiTest, UnknownRoutesAre404) {
  for (const auto& [method, path] :
       {std::pair("POST", "/"), std::pair("GET", "/aws/ec2/managedInstance/smi-1/x"),
        std::pair("POST", "/aws/ec2/managedInstance/smi-1"),
        std::pair("PUT", "/aws/ec2/managedInstance"), std::pair("GET", "//aws/ec2/managedInstance"),
        std::pair("PATCH", "/aws/ec2/managedInstance")}) {
    const Answer answer = Call(method, path, std::string(method) == "GET" ? "" : "{}");
    EXPECT_EQ(answer.status, 404) << method << path;
    EXPECT_THAT(answer.error(), StartsWith("ROUTE_DOESNT_EXIST")) << method << path;
  }
}

TEST_F(ApiTest, BadBodiesAre400) {
  const std::string deep = std::string(200'000, '[');
  for (const std::string& body :
       {std::string("{"), std::string(kUnrepairedRole), deep, std::string("{\"a\":\"\xff\"}"),
        std::string(R"({"managedInstance": {}, "managedInstance": {}})")}) {
    const Answer answer = Call("POST", kNodes, body);
    EXPECT_EQ(answer.status, 400);
    EXPECT_THAT(answer.error(), StartsWith("CANT_PARSE_BODY : body: ")) << answer.body.dump();
  }
  for (const char* body :
       {"", "[]", "5", "{}", R"({"other": {}})", R"({"managedInstance": null})"}) {
    const Answer answer = Call("POST", kNodes, body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_THAT(answer.error(), StartsWith("CANT_CREATE_MANAGED_INSTANCE ")) << body;
  }
}

TEST_F(ApiTest, BodiesHaveALimit) {
  const std::string large =
      R"({"managedInstance": {"name": ")" + std::string(2 << 20, 'x') + "\"}}";
  const Answer answer = Call("POST", kNodes, large);
  EXPECT_EQ(answer.status, 413);
  EXPECT_THAT(answer.error(), HasSubstr("refused"));
}

TEST_F(ApiTest, TheRateIsLimitedPerMethodAndRoute) {
  Serve({.calls_per_minute = 3});
  for (int i = 0; i < 3; ++i) {
    const Answer answer = Call("GET", fmt::format("{}/smi-{}", kNodes, i));
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.headers.find("X-RateLimit-Limit")->second, "3");
    EXPECT_EQ(answer.headers.find("X-RateLimit-Remaining")->second, std::to_string(2 - i));
  }
  const Answer refused = Call("GET", fmt::format("{}/smi-9", kNodes));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.response()["data"], "Rate limit exceeded");
  EXPECT_FALSE(refused.response().contains("errors"));
  EXPECT_EQ(refused.headers.count("X-RateLimit-Reset"), 1);
  EXPECT_EQ(Call("GET", kNodes).status, 200);
  EXPECT_EQ(CallAs(foreign_token_, "GET", fmt::format("{}/smi-9", kNodes)).status, 400);
}

// Some clients send a PUT or DELETE without a body and without a length.
TEST_F(ApiTest, ARequestWithoutALengthHasNoBody) {
  const std::string node = NewNode();
  CarryOut(node, NodeState::kActive);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(server_->address().port));
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = fmt::format(
      "PUT {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
      PathOf(node, "/pause"), token_);
  ASSERT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  const auto start = std::chrono::steady_clock::now();
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  close(fd);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

}  // namespace
}  // namespace snapstore::spot
