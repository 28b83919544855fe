#include "orchestrator/localcloud/authentication.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/sha256.h"

namespace snapstore::localcloud {
namespace {

class AuthenticationTest : public testing::Test {
 protected:
  SignedRequest Request(const AwsCredentials& credentials, int64_t time = WallNanos()) const {
    SignedRequest request;
    request.method = "POST";
    request.path = "/";
    request.headers = {{"host", "127.0.0.1:8000"}};
    request.body = "Action=DescribeVolumes";
    SigV4Request to_sign;
    to_sign.method = "POST";
    to_sign.headers = request.headers;
    to_sign.payload_sha256 = Sha256::Of(AsBytes(request.body)).ToHex();
    for (HttpHeader header : SignInHeaders(to_sign, credentials, {"us-east-1", "ec2"}, time)) {
      for (char& c : header.name) c = static_cast<char>(std::tolower(c));
      request.headers.push_back(header);
    }
    return request;
  }
  ApiResult<std::string> Check(const SignedRequest& request) const {
    return Authenticate(request, keys_, "000000000000", {"ec2"});
  }
  AwsCredentials Own() const {
    AwsCredentials own;
    own.access_key_id = keys_.access_key_id;
    own.secret_access_key = keys_.secret_access_key;
    return own;
  }

  const CloudKeys keys_ = MakeCloudKeys();
};

TEST_F(AuthenticationTest, TheCloudsOwnKeysAreGood) {
  auto arn = Check(Request(Own()));
  ASSERT_TRUE(arn.ok()) << arn.status().message;
  EXPECT_EQ(*arn, "arn:aws:iam::000000000000:user/admin");
}

TEST_F(AuthenticationTest, AChangedBodyIsRefused) {
  SignedRequest request = Request(Own());
  request.body += "&DryRun=true";
  EXPECT_EQ(Check(request).status().code, "SignatureDoesNotMatch");
}

TEST_F(AuthenticationTest, AnotherSecretIsRefused) {
  AwsCredentials wrong = Own();
  wrong.secret_access_key += "x";
  EXPECT_EQ(Check(Request(wrong)).status().code, "SignatureDoesNotMatch");
  wrong.access_key_id = "AKIAOTHER";
  EXPECT_EQ(Check(Request(wrong)).status().code, "AuthFailure");
}

TEST_F(AuthenticationTest, OldSignaturesAreRefused) {
  EXPECT_EQ(Check(Request(Own(), WallNanos() - 3600 * kNanosPerSecond)).status().code,
            "RequestExpired");
}

TEST_F(AuthenticationTest, NoSignatureIsRefused) {
  SignedRequest request = Request(Own());
  request.headers.resize(1);
  EXPECT_EQ(Check(request).status().code, "MissingAuthenticationToken");
}

TEST_F(AuthenticationTest, KeysOfInstancesAreGoodUntilTheyExpire) {
  const int64_t later = WallNanos() + 3600 * kNanosPerSecond;
  const AwsCredentials role = InstanceCredentials(keys_, "node", "i-1", later);
  EXPECT_EQ(Check(Request(role)).value(), "arn:aws:sts::000000000000:assumed-role/node/i-1");
  const AwsCredentials old = InstanceCredentials(keys_, "node", "i-1", WallNanos() - 1);
  EXPECT_EQ(Check(Request(old)).status().code, "ExpiredToken");
  AwsCredentials forged = role;
  forged.session_token.replace(0, 4, "root");
  EXPECT_EQ(Check(Request(forged)).status().code, "AuthFailure");
}

}  // namespace
}  // namespace snapstore::localcloud
