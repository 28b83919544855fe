#include "orchestrator/ec2/aws_error.h"

#include <gtest/gtest.h>

namespace snapstore {
namespace {

HttpResponse Answer(int status, std::string_view text) {
  HttpResponse response;
  response.status = status;
  response.body.assign(text.begin(), text.end());
  return response;
}

TEST(AwsErrorTest, ReadsTheErrorsOfEc2) {
  const AwsFailure failure = ParseAwsFailure(
      Answer(400,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>"
             "InvalidInstanceID.NotFound</Code><Message>The instance ID 'i-1a2b3c4d' does not "
             "exist</Message></Error></Errors><RequestID>ea966190-f9aa-478e-9ede-example"
             "</RequestID></Response>"),
      "DescribeInstances");
  EXPECT_EQ(failure.code, "InvalidInstanceID.NotFound");
  EXPECT_EQ(failure.request_id, "ea966190-f9aa-478e-9ede-example");
  EXPECT_EQ(failure.status.ToString(),
            "NotFound: DescribeInstances: InvalidInstanceID.NotFound: The instance ID "
            "'i-1a2b3c4d' does not exist (request ea966190-f9aa-478e-9ede-example)");
}

TEST(AwsErrorTest, ReadsTheErrorsOfOtherQueryServices) {
  const AwsFailure failure = ParseAwsFailure(
      Answer(403,
             "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>"
             "Sender</Type><Code>SignatureDoesNotMatch</Code><Message>The request signature we "
             "calculated does not match</Message></Error><RequestId>r2</RequestId>"
             "</ErrorResponse>"),
      "GetCallerIdentity");
  EXPECT_EQ(failure.code, "SignatureDoesNotMatch");
  EXPECT_TRUE(failure.status.Is(StatusCode::kPermissionDenied));
  EXPECT_EQ(failure.request_id, "r2");
}

TEST(AwsErrorTest, ReadsTheErrorsOfRestServices) {
  HttpResponse response = Answer(404, "{\"Message\":\"gone\",\"Reason\":\"SNAPSHOT_NOT_FOUND\"}");
  response.headers = {{"x-amzn-errortype", "ResourceNotFoundException:http://x/"},
                      {"x-amzn-requestid", "r3"}};
  const AwsFailure failure = ParseAwsFailure(response, "GET /snapshots/s/blocks");
  EXPECT_EQ(failure.code, "ResourceNotFoundException");
  EXPECT_EQ(failure.message, "gone");
  EXPECT_TRUE(failure.status.Is(StatusCode::kNotFound));
}

TEST(AwsErrorTest, AnAnswerWithoutACodeIsToldByItsStatus) {
  const AwsFailure failure =
      ParseAwsFailure(Answer(502, "<html>Bad Gateway</html>"), "RunInstances");
  EXPECT_TRUE(failure.status.Is(StatusCode::kIo));
  EXPECT_EQ(failure.status.message(), "RunInstances: HTTP 502");
}

TEST(AwsErrorTest, CodesStandForWhatACallerCanDo) {
  const auto expect = [](StatusCode wanted, const char* code) {
    EXPECT_EQ(StatusCodeOfAwsCode(code, 400), wanted) << code;
  };
  expect(StatusCode::kThrottled, "RequestLimitExceeded");
  expect(StatusCode::kNoSpace, "InsufficientInstanceCapacity");
  expect(StatusCode::kNoSpace, "VcpuLimitExceeded");
  expect(StatusCode::kConflict, "IncorrectInstanceState");
  expect(StatusCode::kConflict, "InvalidSnapshot.InUse");
  expect(StatusCode::kNotFound, "InvalidVolume.NotFound");
  expect(StatusCode::kPermissionDenied, "UnauthorizedOperation");
  expect(StatusCode::kUnsupported, "Unsupported");
  expect(StatusCode::kInvalidArgument, "InvalidParameterValue");
  EXPECT_EQ(StatusCodeOfAwsCode("NeverHeardOf", 500), StatusCode::kIo);
  EXPECT_TRUE(IsLackOfCapacity("SpotMaxPriceTooLow"));
  EXPECT_FALSE(IsLackOfCapacity("InvalidParameterValue"));
}

}  // namespace
}  // namespace snapstore
