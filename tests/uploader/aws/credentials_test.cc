#include "uploader/aws/credentials.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "tests/base/temp_folder.h"
#include "tests/uploader/http/test_server.h"
#include "uploader/aws/credential_json.h"

namespace snapstore {
namespace {

constexpr int64_t kHour = 3600 * kNanosPerSecond;

std::string Json(const std::string& key, const std::string& expires = "2099-01-01T00:00:00Z") {
  return R"({"Code":"Success","AccessKeyId":")" + key +
         R"(","SecretAccessKey":"the-secret","Token":"the-token","Expiration":")" + expires +
         R"("})";
}

std::string StsAnswer(const std::string& action, const std::string& key) {
  return "<" + action + "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" + action +
         "Result><Credentials><AccessKeyId>" + key +
         "</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
         "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></" +
         action + "Result></" + action + "Response>";
}

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() {
    variables_ = {{"HOME", folder_.path()}, {"AWS_EC2_METADATA_DISABLED", "true"}};
  }

  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.File(name)) << text;
    return folder_.File(name);
  }

  Result<AwsCredentials> Get() {
    Result<AwsEnvironment> environment = AwsEnvironment::Load([this](const std::string& name) {
      const auto it = variables_.find(name);
      return it == variables_.end() ? std::string() : it->second;
    });
    if (!environment.ok()) return environment.status();
    chain_ = DefaultCredentialChain(std::make_shared<AwsEnvironment>(std::move(*environment)));
    return chain_->Get();
  }

  // The access key that the chain comes up with.
  std::string Key() {
    const Result<AwsCredentials> got = Get();
    EXPECT_TRUE(got.ok()) << got.status().ToString();
    return got.ok() ? got->access_key_id : "";
  }

  // As an EC2 instance whose role is "role".
  void ServeMetadata() {
    server_->Put(
        "/latest/api/token", [this](const httplib::Request& request, httplib::Response& out) {
          EXPECT_EQ(request.get_header_value("X-aws-ec2-metadata-token-ttl-seconds"), "21600");
          out.set_content("token-" + std::to_string(++tokens_), "text/plain");
        });
    const auto answer = [this](const std::string& body) {
      return [this, body](const httplib::Request& request, httplib::Response& out) {
        if (request.get_header_value("X-aws-ec2-metadata-token") !=
            "token-" + std::to_string(tokens_)) {
          out.status = 401;
        } else {
          out.set_content(body, "text/plain");
        }
      };
    };
    server_->Get("/latest/meta-data/iam/security-credentials/", answer("role"));
    server_->Get("/latest/meta-data/iam/security-credentials/role", answer(Json("instance")));
    variables_.erase("AWS_EC2_METADATA_DISABLED");
    variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server_.url() + "/";
  }

  void ServeSts() {
    server_->Post("/", [](const httplib::Request& request, httplib::Response& out) {
      const std::string action = request.get_param_value("Action");
      const std::string with = action == "AssumeRole"
                                   ? request.get_header_value("Authorization").substr(0, 36)
                                   : request.get_param_value("WebIdentityToken");
      if (request.get_param_value("RoleArn") == "forbidden") {
        out.status = 403;
        out.set_content(
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message>"
            "</Error></ErrorResponse>",
            "text/xml");
        return;
      }
      out.set_content(StsAnswer(action, request.get_param_value("RoleArn") + " by " + with),
                      "text/xml");
    });
    variables_["AWS_ENDPOINT_URL_STS"] = server_.url();
  }

  TempFolder folder_;
  std::map<std::string, std::string> variables_;
  TestServer server_;
  int tokens_ = 0;
  std::unique_ptr<AwsCredentialChain> chain_;
};

TEST_F(CredentialsTest, NamesThePlacesWhereNothingWas) {
  const Result<AwsCredentials> got = Get();
  ASSERT_TRUE(got.status().Is(StatusCode::kPermissionDenied));
  for (const char* place : {"environment", "profile 'default'", "container", "instance"}) {
    EXPECT_NE(got.status().message().find(place), std::string::npos) << got.status().message();
  }
}

TEST_F(CredentialsTest, AsksTheEnvironmentFirst) {
  variables_["AWS_SHARED_CREDENTIALS_FILE"] =
      Write("credentials", "[default]\naws_access_key_id=file\naws_secret_access_key=s\n");
  EXPECT_EQ(Key(), "file");
  EXPECT_EQ(chain_->source(), "profile 'default'");
  variables_["AWS_ACCESS_KEY_ID"] = "environment";
  EXPECT_TRUE(Get().status().Is(StatusCode::kPermissionDenied)) << "a key without its secret";
  variables_["AWS_SECRET_ACCESS_KEY"] = "s";
  variables_["AWS_SESSION_TOKEN"] = "t";
  EXPECT_EQ(Key(), "environment");
  EXPECT_EQ(Get()->session_token, "t");
}

TEST_F(CredentialsTest, RunsACredentialProcess) {
  const std::string answer = Write("answer", Json("process"));
  variables_["AWS_CONFIG_FILE"] =
      Write("config", "[profile p]\ncredential_process = cat '" + answer + "'\n" +
                          "[profile bad]\ncredential_process = echo the-secret; exit 3\n"
                          "[profile odd]\ncredential_process = echo the-secret\n");
  variables_["AWS_PROFILE"] = "p";
  EXPECT_EQ(Key(), "process");
  for (const char* profile : {"bad", "odd"}) {
    variables_["AWS_PROFILE"] = profile;
    const Result<AwsCredentials> got = Get();
    EXPECT_TRUE(got.status().Is(StatusCode::kIo)) << profile;
    EXPECT_EQ(got.status().message().find("the-secret"), std::string::npos);
  }
}

TEST_F(CredentialsTest, AssumesRoles) {
  ServeSts();
  server_.Start();
  variables_["AWS_CONFIG_FILE"] =
      Write("config",
            "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=s\n"
            "[profile one]\nrole_arn=one\nsource_profile=base\n"
            "[profile self]\nrole_arn=self\nsource_profile=self\naws_access_key_id=SELF\n"
            "aws_secret_access_key=s\n"
            "[profile circle]\nrole_arn=a\nsource_profile=other\n"
            "[profile other]\nrole_arn=b\nsource_profile=circle\n"
            "[profile no]\nrole_arn=forbidden\nsource_profile=base\n");
  variables_["AWS_PROFILE"] = "one";
  EXPECT_EQ(Key(), "one by AWS4-HMAC-SHA256 Credential=BASE/202");
  variables_["AWS_PROFILE"] = "self";
  EXPECT_EQ(Key(), "self by AWS4-HMAC-SHA256 Credential=SELF/202");
  variables_["AWS_PROFILE"] = "circle";
  EXPECT_TRUE(Get().status().Is(StatusCode::kPermissionDenied));
  variables_["AWS_PROFILE"] = "no";
  EXPECT_TRUE(Get().status().Is(StatusCode::kPermissionDenied)) << Get().status().ToString();
}

TEST_F(CredentialsTest, FollowsAChainOfRolesAndNamesACircle) {
  ServeSts();
  server_.Start();
  variables_["AWS_CONFIG_FILE"] =
      Write("config",
            "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=s\n"
            "[profile one]\nrole_arn=one\nsource_profile=base\n"
            "[profile two]\nrole_arn=two\nsource_profile=one\n"
            "[profile own]\nrole_arn=own\nsource_profile=own\naws_access_key_id=OWN\n"
            "aws_secret_access_key=s\n"
            "[profile above]\nrole_arn=above\nsource_profile=own\n"
            "[profile a]\nrole_arn=a\nsource_profile=b\n"
            "[profile b]\nrole_arn=b\nsource_profile=c\n"
            "[profile c]\nrole_arn=c\nsource_profile=a\n"
            "[profile lost]\nrole_arn=x\nsource_profile=nowhere\n");
  variables_["AWS_PROFILE"] = "two";
  EXPECT_TRUE(Key().starts_with("two by AWS4-HMAC-SHA256 Credential=one by")) << Key();
  variables_["AWS_PROFILE"] = "above";
  EXPECT_TRUE(Key().starts_with("above by AWS4-HMAC-SHA256 Credential=own by")) << Key();
  variables_["AWS_PROFILE"] = "a";
  EXPECT_NE(Get().status().message().find("a -> b -> c -> a"), std::string::npos)
      << Get().status().message();
  variables_["AWS_PROFILE"] = "lost";
  EXPECT_NE(Get().status().message().find("'nowhere', which does not exist"), std::string::npos)
      << Get().status().message();
}

TEST_F(CredentialsTest, TellsWhatToDoAboutASingleSignOn) {
  variables_["AWS_CONFIG_FILE"] =
      Write("config", "[profile sso]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = r\n");
  variables_["AWS_PROFILE"] = "sso";
  const Result<AwsCredentials> got = Get();
  EXPECT_TRUE(got.status().Is(StatusCode::kPermissionDenied));
  EXPECT_NE(got.status().message().find("export-credentials"), std::string::npos)
      << got.status().message();
}

TEST_F(CredentialsTest, PutsVariablesOverFilesAndCredentialsOverConfiguration) {
  variables_["AWS_CONFIG_FILE"] =
      Write("config",
            "[default]\naws_access_key_id=CONFIG\naws_secret_access_key=s\n"
            "[profile p]\naws_access_key_id=P\naws_secret_access_key=s\n");
  EXPECT_EQ(Key(), "CONFIG");
  variables_["AWS_SHARED_CREDENTIALS_FILE"] =
      Write("credentials", "[default]\naws_access_key_id=CREDENTIALS\naws_secret_access_key=s\n");
  EXPECT_EQ(Key(), "CREDENTIALS");
  variables_["AWS_PROFILE"] = "p";
  EXPECT_EQ(Key(), "P");
}

TEST_F(CredentialsTest, PresentsAWebIdentityToken) {
  ServeSts();
  server_.Start();
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = Write("token", "header.payload\n");
  EXPECT_TRUE(Get().status().Is(StatusCode::kPermissionDenied)) << "no role";
  variables_["AWS_ROLE_ARN"] = "arn";
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] += "-gone";
  EXPECT_TRUE(Get().status().Is(StatusCode::kPermissionDenied)) << "not NotFound";
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = folder_.File("token");
  EXPECT_EQ(Key(), "arn by header.payload");
  EXPECT_EQ(chain_->source(), "web identity");
}

TEST_F(CredentialsTest, AsksTheContainer) {
  server_->Get("/creds", [](const httplib::Request& request, httplib::Response& out) {
    out.set_content(Json(request.get_header_value("Authorization")), "application/json");
  });
  server_.Start();
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server_.url() + "/creds";
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = Write("token", "from file\n");
  EXPECT_EQ(Key(), "from file");
}

TEST_F(CredentialsTest, SendsTheContainersTokenToNobodyElse) {
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "the-token-of-the-container";
  for (const char* address : {"http://192.0.2.1/creds", "http://169.254.169.254/x",
                              "http://127.0.0.1.example/creds", "gopher://127.0.0.1/", "here"}) {
    variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = address;
    const Result<AwsCredentials> got = Get();
    EXPECT_TRUE(got.status().Is(StatusCode::kPermissionDenied)) << address;
    EXPECT_NE(got.status().message().find("AWS_CONTAINER_CREDENTIALS_FULL_URI"), std::string::npos)
        << got.status().message();
  }
}

TEST_F(CredentialsTest, AsksTheContainersAgentAgainAfterAFailure) {
  std::atomic<int> calls = 0;
  server_->Get("/creds", [&](const httplib::Request&, httplib::Response& out) {
    if (++calls < 3) {
      out.status = 500;
    } else {
      out.set_content(Json("third"), "application/json");
    }
  });
  server_->Get("/never", [](const httplib::Request&, httplib::Response& out) { out.status = 403; });
  server_.Start();
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server_.url() + "/creds";
  EXPECT_EQ(Key(), "third");
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server_.url() + "/never";
  EXPECT_NE(Get().status().message().find("403"), std::string::npos) << Get().status().message();
}

TEST_F(CredentialsTest, AsksTheInstance) {
  ServeMetadata();
  server_.Start();
  EXPECT_EQ(Key(), "instance");
  EXPECT_EQ(chain_->source(), "instance");
}

TEST_F(CredentialsTest, GetsANewTokenWhenTheOldOneIsRefused) {
  ServeMetadata();
  std::atomic<int> refused = 0;
  server_->set_pre_routing_handler([&](const httplib::Request& request, httplib::Response& out) {
    if (request.path.ends_with("/role") && refused++ == 0) {
      out.status = 401;
      return httplib::Server::HandlerResponse::Handled;
    }
    return httplib::Server::HandlerResponse::Unhandled;
  });
  server_.Start();
  EXPECT_EQ(Key(), "instance");
  EXPECT_EQ(tokens_, 2);
}

TEST_F(CredentialsTest, NeverAsksTheInstanceWithoutAToken) {
  std::atomic<int> gets = 0;
  server_->Put("/latest/api/token",
               [](const httplib::Request&, httplib::Response& out) { out.status = 404; });
  server_->Get(".*", [&](const httplib::Request&, httplib::Response& out) {
    ++gets;
    out.set_content("role", "text/plain");
  });
  server_.Start();
  variables_.erase("AWS_EC2_METADATA_DISABLED");
  variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server_.url();
  EXPECT_FALSE(Get().ok());
  EXPECT_EQ(gets, 0);
}

TEST_F(CredentialsTest, HintsAtTheHopLimitWhereTheInstanceIsSilent) {
  server_->Put("/latest/api/token", [](const httplib::Request&, httplib::Response&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(4000));
  });
  server_.Start();
  variables_.erase("AWS_EC2_METADATA_DISABLED");
  variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server_.url();
  const Result<AwsCredentials> got = Get();
  EXPECT_TRUE(got.status().Is(StatusCode::kPermissionDenied));
  EXPECT_NE(got.status().message().find("HttpPutResponseHopLimit"), std::string::npos)
      << got.status().message();
}

TEST_F(CredentialsTest, ExplainsEachPlace) {
  variables_["AWS_ACCESS_KEY_ID"] = "only-half";
  variables_["AWS_CONFIG_FILE"] =
      Write("config", "[default]\naws_access_key_id=file\naws_secret_access_key=hush\n");
  (void)Get();
  const std::vector<AwsCredentialChain::Finding> findings = chain_->Explain();
  ASSERT_EQ(findings.size(), 5u);
  EXPECT_FALSE(findings[0].has_credentials);
  EXPECT_NE(findings[0].says.find("only one is set"), std::string::npos);
  EXPECT_TRUE(findings[2].has_credentials);
  EXPECT_EQ(findings[2].says, "key file");
}

TEST(CredentialJson, TakesOnlyWhatHasAKeyAndASecret) {
  EXPECT_EQ(ParseCredentialJson(Json("a"))->expires_ns, *ParseTime("2099-01-01T00:00:00Z"));
  for (const char* text :
       {"", "[]", "{}", R"({"AccessKeyId":"a"})", R"({"AccessKeyId":"a","SecretAccessKey":7})",
        R"({"Code":"AssumeRoleUnauthorizedAccess"})"}) {
    EXPECT_FALSE(ParseCredentialJson(text).ok()) << text;
  }
}

TEST(CredentialProcess, RunsACommandOfAShellAndEndsOneThatHangs) {
  EXPECT_EQ(*RunCredentialProcess("printf '%s' \"a b\" 'c  d'"), "a bc  d");
  const Stopwatch watch;
  const Result<std::string> late = RunCredentialProcess("sleep 30 & sleep 30", 0.3);
  EXPECT_TRUE(late.status().Is(StatusCode::kTimeout)) << late.status().ToString();
  EXPECT_LT(watch.Seconds(), 10);
  EXPECT_FALSE(RunCredentialProcess("/no/such/program").ok());
}

// A chain of one source that counts how often it was asked.
class CredentialRefreshTest : public testing::Test {
 protected:
  CredentialRefreshTest()
      : chain_({{"test",
                 [this]() -> Result<std::optional<AwsCredentials>> {
                   ++asked_;
                   if (!failure_.ok()) return failure_;
                   return std::optional(AwsCredentials{.access_key_id = std::to_string(asked_),
                                                       .secret_access_key = "s",
                                                       .expires_ns = now_ + kHour});
                 }}},
               [this] { return now_; }) {}

  std::string Key() { return chain_.Get()->access_key_id; }

  int64_t now_ = 1000 * kHour;
  int asked_ = 0;
  Status failure_;
  AwsCredentialChain chain_;
};

TEST_F(CredentialRefreshTest, RenewsAtThreeQuartersOfTheirLife) {
  EXPECT_EQ(Key(), "1");
  now_ += kHour / 4 * 3 - 1;
  EXPECT_EQ(Key(), "1");
  now_ += 1;
  EXPECT_EQ(Key(), "2");
}

TEST_F(CredentialRefreshTest, KeepsOldOnesWhileNewOnesCannotBeHad) {
  EXPECT_EQ(Key(), "1");
  failure_ = Status::Io("down");
  now_ += kHour / 4 * 3;
  EXPECT_EQ(Key(), "1");
  const int asked = asked_;
  EXPECT_EQ(Key(), "1");
  EXPECT_EQ(asked_, asked) << "not at every request";
  now_ += kHour / 4;
  EXPECT_TRUE(chain_.Get().status().Is(StatusCode::kIo));
  failure_ = {};
  const std::string key = Key();
  EXPECT_EQ(key, std::to_string(asked_));
}

TEST_F(CredentialRefreshTest, FetchesNewOnesWhenTheServerRefusesThem) {
  const AwsCredentials first = *chain_.Get();
  chain_.Invalidate(first);
  EXPECT_EQ(Key(), "2");
  chain_.Invalidate(first);  // by a request that had been under way
  EXPECT_EQ(Key(), "2");
}

TEST(CredentialChain, AsksOnceForAllWhoNeedItAtTheSameTime) {
  std::atomic<int> asked = 0;
  AwsCredentialChain chain(
      {{"slow",
        [&]() -> Result<std::optional<AwsCredentials>> {
          ++asked;
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
          return std::optional(AwsCredentials{.access_key_id = "id", .secret_access_key = "s"});
        }}},
      WallNanos);
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int n = 0; n < 8; ++n) threads.emplace_back([&] { EXPECT_TRUE(chain.Get().ok()); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(asked, 1);
}

TEST_F(CredentialRefreshTest, HidesSecretsInLogs) {
  AwsCredentialChain chain(
      {{"test",
        []() -> Result<std::optional<AwsCredentials>> {
          return std::optional(AwsCredentials{.access_key_id = "id",
                                              .secret_access_key = "very-secret-key",
                                              .session_token = "very-secret-token"});
        }}},
      WallNanos);
  ASSERT_TRUE(chain.Get().ok());
  EXPECT_EQ(SanitizedForLog("a very-secret-key, a very-secret-token"), "a ***, a ***");
}

}  // namespace
}  // namespace snapstore
