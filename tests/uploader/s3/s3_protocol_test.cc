// What S3 says and what is made of it, without a server.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "base/clock.h"
#include "uploader/http/bandwidth_limit.h"
#include "uploader/retry.h"
#include "uploader/s3/checksum.h"
#include "uploader/s3/concurrency_limit.h"
#include "uploader/s3/s3_error.h"
#include "uploader/s3/s3_prices.h"
#include "uploader/s3/s3_xml.h"

namespace snapstore {
namespace {

S3Error Error(int status, const std::string& code) {
  HttpResponse response{.status = status};
  const std::string xml = "<?xml version=\"1.0\"?><Error><Code>" + code +
                          "</Code><Message>m</Message><Region>eu-west-3</Region></Error>";
  if (!code.empty()) response.body.assign(xml.begin(), xml.end());
  return ParseS3Error(response);
}

TEST(S3Error, OnlyAMissingKeyIsNotFound) {
  EXPECT_TRUE(ToStatus(Error(404, "NoSuchKey")).Is(StatusCode::kNotFound));
  EXPECT_TRUE(ToStatus(Error(404, "NoSuchBucket")).Is(StatusCode::kInvalidArgument));
  for (const int status : {400, 401, 403, 404, 405, 409, 412, 416, 500, 501, 503}) {
    EXPECT_FALSE(ToStatus(Error(status, "")).Is(StatusCode::kNotFound)) << status;
    EXPECT_FALSE(ToStatus(Error(status, "Strange")).Is(StatusCode::kNotFound)) << status;
    EXPECT_FALSE(ToStatus(Error(status, "Strange")).ok()) << status;
  }
}

TEST(S3Error, NamesTheRemedy) {
  const auto remedy = [](int status, const char* code) { return RemedyFor(Error(status, code)); };
  EXPECT_EQ(remedy(503, "SlowDown"), S3Remedy::kSlowDown);
  EXPECT_EQ(remedy(429, ""), S3Remedy::kSlowDown);
  EXPECT_EQ(remedy(500, "InternalError"), S3Remedy::kRetry);
  EXPECT_EQ(remedy(502, ""), S3Remedy::kRetry);
  EXPECT_EQ(remedy(400, "BadDigest"), S3Remedy::kRetry);
  EXPECT_EQ(remedy(409, "ConditionalRequestConflict"), S3Remedy::kRetry);
  EXPECT_EQ(remedy(400, "ExpiredToken"), S3Remedy::kNewCredentials);
  EXPECT_EQ(remedy(403, "RequestTimeTooSkewed"), S3Remedy::kCorrectClock);
  EXPECT_EQ(remedy(301, "PermanentRedirect"), S3Remedy::kOtherRegion);
  EXPECT_EQ(remedy(400, "AuthorizationHeaderMalformed"), S3Remedy::kOtherRegion);
  for (const auto& [status, code] :
       std::vector<std::pair<int, const char*>>{{403, "AccessDenied"},
                                                {403, "SignatureDoesNotMatch"},
                                                {404, "NoSuchKey"},
                                                {412, "PreconditionFailed"},
                                                {501, "NotImplemented"},
                                                {400, "InvalidArgument"}}) {
    EXPECT_EQ(remedy(status, code), S3Remedy::kNone) << code;
  }
}

TEST(S3Xml, ReadsPagesOfAList) {
  const std::string page =
      "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>"
      "<Contents><Key>a%20b%26</Key><LastModified>2026-03-01T09:15:00.129Z</LastModified>"
      "<Size>7</Size></Contents>"
      "<Contents><Key>c</Key><LastModified>2026-03-01T09:15:00Z</LastModified>"
      "<Size>5368709121</Size></Contents></ListBucketResult>";
  const S3ListPage list = *ParseListPage(AsBytes(page));
  ASSERT_EQ(list.objects.size(), 2u);
  EXPECT_EQ(list.objects[0].key, "a b&");
  EXPECT_EQ(list.objects[0].modified_ns, *ParseTime("2026-03-01T09:15:00.129Z"));
  EXPECT_EQ(list.objects[1].size, 5368709121u);
  EXPECT_EQ(list.next_token, "a&b");
}

TEST(S3Xml, RefusesWhatIsNoList) {
  for (const char* xml :
       {"", "<html/>", "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>%</Key><Size>1</Size></Contents></ListBucketResult>"}) {
    EXPECT_TRUE(!ParseListPage(AsBytes(xml)).ok()) << xml;
  }
}

TEST(S3Xml, FindsTheErrorInASuccess) {
  const std::string error = "<Error><Code>InternalError</Code><Message/></Error>";
  EXPECT_TRUE(ParseCompletion(AsBytes(error)).Is(StatusCode::kIo));
  EXPECT_FALSE(ParseCompletion({}).ok());
  EXPECT_TRUE(ParseCompletion(AsBytes("<CompleteMultipartUploadResult/>")).ok());
}

TEST(S3Xml, TellsWhatWasDeletedFromWhatWasNot) {
  const S3Deletion deletion = *ParseDeletion(
      AsBytes("<DeleteResult><Deleted><Key>a&amp;b</Key></Deleted>"
              "<Error><Key>k</Key><Code>AccessDenied</Code></Error></DeleteResult>"));
  EXPECT_EQ(deletion.deleted, std::vector<std::string>{"a&b"});
  ASSERT_EQ(deletion.failed.size(), 1u);
  EXPECT_EQ(deletion.failed[0].first, "k");
  EXPECT_EQ(deletion.failed[0].second.code, "AccessDenied");
  EXPECT_FALSE(ParseDeletion({}).ok());
}

TEST(S3Xml, ReadsPagesOfUploads) {
  const S3UploadPage page = *ParseUploadPage(
      AsBytes("<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
              "<NextKeyMarker>p%2Fk</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker>"
              "<Upload><Key>p%2Fk</Key><UploadId>u1</UploadId>"
              "<Initiated>2026-11-25T08:00:00.000Z</Initiated></Upload>"
              "</ListMultipartUploadsResult>"));
  ASSERT_EQ(page.uploads.size(), 1u);
  EXPECT_EQ(page.uploads[0].key, "p/k");
  EXPECT_EQ(page.uploads[0].id, "u1");
  EXPECT_EQ(page.uploads[0].initiated_ns, *ParseTime("2026-11-25T08:00:00Z"));
  EXPECT_EQ(page.next_key, "p/k");
  EXPECT_EQ(page.next_upload, "u2");
  for (const char* xml :
       {"",
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
        "</ListMultipartUploadsResult>",
        "<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u</UploadId>"
        "<Initiated>yesterday</Initiated></Upload></ListMultipartUploadsResult>",
        "<ListMultipartUploadsResult><Upload><Key>k</Key>"
        "<Initiated>2026-11-25T08:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>"}) {
    EXPECT_FALSE(ParseUploadPage(AsBytes(xml)).ok()) << xml;
  }
}

TEST(S3Prices, AreOfTheClassAndCanBeSet) {
  EXPECT_EQ(S3PricesOf("").writes, 0.005);
  EXPECT_EQ(S3PricesOf("STANDARD_IA").writes, 0.01);
  EXPECT_EQ(S3PricesOf("UNHEARD_OF").reads, 0.0004);
  const S3Prices prices = *ParseS3Prices("1,0.5,0");
  EXPECT_EQ(prices.writes, 1);
  EXPECT_EQ(prices.reads, 0.5);
  EXPECT_EQ(prices.down, 0);
  for (const char* text : {"", "1", "1,2", "1,2,3,4", "1,2,x", "-1,2,3", "1,2,nan", "1,2,3 "}) {
    EXPECT_FALSE(ParseS3Prices(text).ok()) << text;
  }
}

TEST(S3Xml, WritesBodies) {
  EXPECT_EQ(CompleteUploadXml({"\"a\""}),
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part>"
            "<PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part></CompleteMultipartUpload>");
  EXPECT_NE(DeleteObjectsXml({"a&b"}).find("<Object><Key>a&amp;b</Key></Object>"),
            std::string::npos);
}

TEST(S3Checksum, GivesTheCheckValues) {
  // The check values of the CRC catalogue: of "123456789".
  const std::array<ByteSpan, 3> parts = {AsBytes("1"), AsBytes(""), AsBytes("23456789")};
  EXPECT_EQ(Crc32c(parts), 0xe3069283u);
  EXPECT_EQ(Crc64Nvme(parts), 0xae8b14860a799888u);
  EXPECT_EQ(Crc32c({}), 0u);
  // RFC 3720, appendix B.4.
  const Bytes zeros(32);
  const ByteSpan span = zeros;
  EXPECT_EQ(Crc32c({&span, 1}), 0x8a9136aau);
  EXPECT_EQ(ChecksumHeaders(S3Checksum::kCrc32c, parts, "").back().value, "4waSgw==");
  EXPECT_TRUE(ChecksumHeaders(S3Checksum::kNone, parts, "").empty());
  EXPECT_EQ(*ParseS3Checksum("crc64nvme"), S3Checksum::kCrc64Nvme);
  EXPECT_FALSE(ParseS3Checksum("md5").ok());
}

TEST(ConcurrencyLimit, HalvesOnceForOneCongestionAndGrowsAgain) {
  ConcurrencyLimit limit(8, std::chrono::milliseconds(0));
  EXPECT_EQ(limit.Acquire(100), 8u);
  for (int n = 0; n < 8; ++n) limit.Release(/*throttled=*/true);
  EXPECT_EQ(limit.limit(), 4u);
  for (unsigned expected = 4; expected < 8; ++expected) {
    EXPECT_EQ(limit.limit(), expected);
    for (unsigned n = 0; n < expected; ++n) {
      limit.Acquire();
      limit.Release(false);
    }
  }
  EXPECT_EQ(limit.limit(), 8u);
}

TEST(ConcurrencyLimit, DoesNotGrowRightAfterARefusal) {
  ConcurrencyLimit limit(4, std::chrono::milliseconds(100));
  limit.Acquire();
  limit.Release(/*throttled=*/true);
  for (int n = 0; n < 100; ++n) {
    limit.Acquire();
    limit.Release(false);
  }
  EXPECT_EQ(limit.limit(), 2u);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  for (int n = 0; n < 100; ++n) {
    limit.Acquire();
    limit.Release(false);
  }
  EXPECT_EQ(limit.limit(), 4u);
}

TEST(ConcurrencyLimit, LetsNoMoreThroughThanItSays) {
  ConcurrencyLimit limit(1);
  limit.Acquire();
  std::atomic<bool> got = false;
  std::thread waiting([&] {
    limit.Acquire();
    got = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(got);
  limit.Release(false);
  waiting.join();
  EXPECT_TRUE(got);
}

TEST(BandwidthLimit, SpreadsBytesWithoutBursts) {
  BandwidthLimit limit(10'000'000);
  const Stopwatch watch;
  size_t most = 0;
  size_t total = 0;
  while (total < 2'000'000) {
    const size_t taken = limit.Take(2'000'000 - total);
    most = std::max(most, taken);
    total += taken;
  }
  EXPECT_LE(most, 500'001u);
  EXPECT_GT(watch.Seconds(), 0.15);
  limit.Set(0);
  EXPECT_EQ(limit.Take(1 << 30), size_t{1} << 30);
}

TEST(Backoff, EndsAtItsDeadlineAndSaysHowOftenItTried) {
  const RetryPolicy policy{.deadline = std::chrono::milliseconds(200),
                           .first_wait = std::chrono::milliseconds(10)};
  Backoff backoff(policy);
  const Stopwatch watch;
  int attempts = 1;
  Status status = backoff.Wait(Status::Io("broken"));
  for (; status.ok(); ++attempts) status = backoff.Wait(Status::Io("broken"));
  EXPECT_LT(watch.Seconds(), 0.3);
  EXPECT_TRUE(status.Is(StatusCode::kIo));
  EXPECT_NE(status.message().find("after " + std::to_string(attempts) + " attempts"),
            std::string::npos)
      << status.message();
}

TEST(Backoff, WaitsAsLongAsTheOtherSideAsks) {
  const RetryPolicy policy{.first_wait = std::chrono::milliseconds(1)};
  const Stopwatch watch;
  Backoff backoff(policy);
  EXPECT_TRUE(backoff.Wait(Status::Io("busy"), std::chrono::milliseconds(200)).ok());
  EXPECT_GE(watch.Seconds(), 0.2);
}

TEST(S3Checksum, HoldsAWholeObjectAgainstWhatCameWithIt) {
  const auto matches = [](std::vector<HttpHeader> headers) {
    return MatchesChecksums({.status = 200, .headers = std::move(headers)}, AsBytes("123456789"));
  };
  EXPECT_TRUE(matches({}));
  EXPECT_TRUE(matches({{"x-amz-checksum-crc32c", "4waSgw=="}}));
  EXPECT_FALSE(matches({{"x-amz-checksum-crc32c", "AAAAAA=="}}));
  EXPECT_TRUE(matches({{"x-amz-checksum-crc64nvme", "rosUhgp5mIg="}}));
  EXPECT_FALSE(matches({{"x-amz-checksum-crc64nvme", "rosUhgp5mIk="}}));
  EXPECT_TRUE(matches({{"x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="}}));
  EXPECT_FALSE(
      matches({{"x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiA="}}));
  EXPECT_TRUE(matches({{"x-amz-checksum-crc32c", "AAAAAA==-2"}})) << "of two parts";
  EXPECT_TRUE(
      matches({{"x-amz-checksum-type", "COMPOSITE"}, {"x-amz-checksum-crc32c", "AAAAAA=="}}));
}

TEST(Backoff, WaitsNoLongerWhenCancelled) {
  const RetryPolicy policy{.first_wait = std::chrono::milliseconds(100'000),
                           .longest_wait = std::chrono::milliseconds(100'000),
                           .cancelled = [] { return true; }};
  Status status;
  for (Backoff backoff(policy); status.ok();) status = backoff.Wait(Status::Io("broken"));
  EXPECT_TRUE(status.Is(StatusCode::kCancelled));
}

}  // namespace
}  // namespace snapstore
