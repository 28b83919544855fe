// S3Store against a server that answers as the test wants. How real servers answer is shown by the
// conformance suite.
#include "uploader/s3_store.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "tests/uploader/s3/s3_store_fixture.h"

namespace snapstore {
namespace {

TEST_F(S3StoreTest, PutsWithAConditionAndEverythingAskedFor) {
  options_.encryption = "aws:kms";
  options_.kms_key_id = "kms-key";
  options_.requester_pays = true;
  options_.checksum = S3Checksum::kCrc32c;
  Request got;
  server_->Put(kObject, [&](const Request& request, Response&) { got = request; });
  Start();
  EXPECT_EQ(*Put("123456789"), PutOutcome::kCreated);
  EXPECT_EQ(got.body, "123456789");
  EXPECT_EQ(got.get_header_value("If-None-Match"), "*");
  EXPECT_EQ(got.get_header_value("x-amz-server-side-encryption"), "aws:kms");
  EXPECT_EQ(got.get_header_value("x-amz-server-side-encryption-aws-kms-key-id"), "kms-key");
  EXPECT_EQ(got.get_header_value("X-Amz-Request-Payer"), "requester");
  EXPECT_EQ(got.get_header_value("x-amz-checksum-crc32c"), "4waSgw==");
  EXPECT_EQ(got.get_header_value("X-Amz-Security-Token"), "the-token");
  EXPECT_EQ(got.get_header_value("X-Amz-Content-Sha256"),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
  const std::string authorization = got.get_header_value("Authorization");
  EXPECT_NE(authorization.find("if-none-match"), std::string::npos) << "all headers are signed";
  EXPECT_NE(authorization.find("/us-east-1/s3/aws4_request"), std::string::npos);
}

TEST_F(S3StoreTest, TakesAnObjectThatIsThereForItsOwn) {
  server_->Put(kObject,
               [](const Request&, Response& out) { Refuse(out, 412, "PreconditionFailed"); });
  Start();
  EXPECT_EQ(*Put("x"), PutOutcome::kExisted);
}

TEST_F(S3StoreTest, AsksFirstWhereTheServerKnowsNoCondition) {
  std::string stored;
  int conditional = 0;
  server_->Put(kObject, [&](const Request& request, Response& out) {
    if (request.has_header("If-None-Match")) {
      ++conditional;
      Refuse(out, 501, "NotImplemented");
    } else {
      stored = request.body;
    }
  });
  server_->Get(kObject, [&](const Request&, Response& out) {
    if (stored.empty()) {
      Refuse(out, 404, "NoSuchKey");
    } else {
      out.set_content(stored, "application/octet-stream");
    }
  });
  Start();
  const Result<PutOutcome> first = Put("first");
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(*first, PutOutcome::kCreated);
  EXPECT_EQ(*Put("second"), PutOutcome::kExisted);
  EXPECT_EQ(stored, "first");
  EXPECT_EQ(conditional, 1) << "asked once, then known";
}

TEST_F(S3StoreTest, TriesAgainWhatMayPass) {
  std::atomic<int> calls = 0;
  server_->Put(kObject, [&](const Request&, Response& out) {
    const int n = ++calls;
    if (n == 1) Refuse(out, 503, "SlowDown");
    if (n == 2) Refuse(out, 500, "InternalError");
    if (n == 3) Refuse(out, 400, "BadDigest");
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(store_->client().Usage().retries, 3u);
  EXPECT_EQ(store_->client().Usage().throttled, 1u);
}

TEST_F(S3StoreTest, GivesUpAtTheDeadlineAndKeepsSecretsOutOfTheMessage) {
  options_.retry_deadline = std::chrono::milliseconds(300);
  server_->Put(kObject, [](const Request&, Response& out) { Refuse(out, 503, "SlowDown"); });
  Start();
  const Result<PutOutcome> outcome = Put("x");
  EXPECT_TRUE(outcome.status().Is(StatusCode::kThrottled));
  const std::string message = outcome.status().message();
  EXPECT_NE(message.find("attempts"), std::string::npos) << message;
  EXPECT_EQ(message.find("the-secret"), std::string::npos);
  EXPECT_EQ(message.find("Signature"), std::string::npos);
}

TEST_F(S3StoreTest, RenewsExpiredCredentialsOnceAndRepeatsTheRequest) {
  std::vector<std::string> keys;
  server_->Put(kObject, [&](const Request& request, Response& out) {
    keys.push_back(request.get_header_value("Authorization").substr(28, 4));
    if (keys.size() == 1) Refuse(out, 400, "ExpiredToken");
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  EXPECT_EQ(keys, (std::vector<std::string>{"KEY1", "KEY2"}));
}

TEST_F(S3StoreTest, DoesNotGoOnWithCredentialsThatStayExpired) {
  std::atomic<int> calls = 0;
  server_->Put(kObject, [&](const Request&, Response& out) {
    ++calls;
    Refuse(out, 400, "ExpiredToken");
  });
  Start();
  EXPECT_TRUE(Put("x").status().Is(StatusCode::kPermissionDenied));
  EXPECT_EQ(calls, 2);
}

TEST_F(S3StoreTest, SignsForTheRegionTheServerNames) {
  std::vector<std::string> scopes;
  server_->Put(kObject, [&](const Request& request, Response& out) {
    const std::string authorization = request.get_header_value("Authorization");
    scopes.push_back(authorization.find("/eu-west-3/s3/") == std::string::npos ? "wrong" : "right");
    if (scopes.back() == "wrong") {
      out.set_header("x-amz-bucket-region", "eu-west-3");
      Refuse(out, 301, "PermanentRedirect");
    }
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  EXPECT_TRUE(Put("y").ok());
  EXPECT_EQ(scopes, (std::vector<std::string>{"wrong", "right", "right"}));
}

TEST_F(S3StoreTest, GoesByTheServersClock) {
  std::vector<std::string> dates;
  server_->Put(kObject, [&](const Request& request, Response& out) {
    dates.push_back(request.get_header_value("X-Amz-Date").substr(0, 8));
    if (dates.size() > 1) return;
    out.set_header("Date", "Fri, 24 May 2013 00:00:00 GMT");
    Refuse(out, 403, "RequestTimeTooSkewed");
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  ASSERT_EQ(dates.size(), 2u);
  EXPECT_EQ(dates[1], "20130524");
  EXPECT_GT(store_->client().ClockAheadSeconds(), 1e8);
}

TEST_F(S3StoreTest, FetchesLongRangesInPieces) {
  options_.retry_deadline = std::chrono::minutes(5);  // time for a machine that is busy
  std::string object(40 << 20, '\0');
  for (size_t n = 0; n < object.size(); n += 4096) object[n] = static_cast<char>(n >> 12);
  std::atomic<int> requests = 0;
  server_->Get(kObject, [&](const Request&, Response& out) {
    ++requests;
    out.set_content(object, "application/octet-stream");  // httplib cuts out the range
  });
  Start();
  Bytes out(object.size() - 3);
  ASSERT_TRUE(store_->GetRange(ObjectKey("some/key"), 3, out).ok());
  EXPECT_TRUE(AsText(out) == std::string_view(object).substr(3));
  EXPECT_EQ(requests, 5);
}

TEST_F(S3StoreTest, BelievesNoAnswerThatIsNotTheRange) {
  options_.retry_deadline = std::chrono::milliseconds(200);
  int mode = 0;
  server_->set_pre_routing_handler([&](const Request&, Response& out) {
    out.set_header("Content-Range", mode == 1 ? "bytes 0-9/100" : "bytes 10-14/15");
    AnswerWhole(out, mode == 0 ? 200 : 206, mode == 2 ? "01234" : "0123456789");
    return httplib::Server::HandlerResponse::Handled;
  });
  Start();
  Bytes out(10);
  for (const StatusCode expected : {StatusCode::kIo, StatusCode::kIo, StatusCode::kCorruption}) {
    const Status status = store_->GetRange(ObjectKey("some/key"), 10, out);
    EXPECT_TRUE(status.Is(expected)) << mode << ": " << status.ToString();
    ++mode;
  }
}

TEST_F(S3StoreTest, DoesNotTakeAMissingBucketForAMissingObject) {
  server_->Get(kObject, [](const Request&, Response& out) { Refuse(out, 404, "NoSuchBucket"); });
  Start();
  const ObjectKey key("some/key");
  for (const Status& status :
       {store_->Stat(key).status(), store_->Get(key, 10).status(), store_->Delete(key)}) {
    EXPECT_TRUE(status.Is(StatusCode::kInvalidArgument)) << status.ToString();
  }
}

TEST_F(S3StoreTest, EndsAListThatRepeatsItself) {
  server_->Get("/bucket/", [](const Request& request, Response& out) {
    EXPECT_EQ(request.get_param_value("prefix"), "pre/a");
    out.set_content(
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>same</NextContinuationToken>"
        "<Contents><Key>pre/a/b</Key><LastModified>2026-03-01T09:15:00Z</LastModified>"
        "<Size>1</Size></Contents><Contents><Key>pre/Foreign%20name</Key>"
        "<LastModified>2026-03-01T09:15:00Z</LastModified><Size>1</Size></Contents>"
        "</ListBucketResult>",
        "application/xml");
  });
  Start();
  std::vector<std::string> keys;
  const Status status = store_->List("a", [&](const ObjectInfo& info) {
    keys.push_back(info.key);
    return Status();
  });
  EXPECT_TRUE(status.Is(StatusCode::kIo)) << status.ToString();
  EXPECT_EQ(keys, (std::vector<std::string>{"a/b"}));
}

TEST_F(S3StoreTest, AsksAgainForAListThatCannotBeRight) {
  const std::string first =
      "<ListBucketResult><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>more</NextContinuationToken>"
      "<Contents><Key>pre/a</Key><Size>1</Size>"
      "<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>";
  const std::string last =
      "<ListBucketResult><Contents><Key>pre/b</Key><Size>1</Size>"
      "<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>";
  const std::vector<std::string> answers = {
      "<?xml version='1.0'?>\n<Error><Code>InternalError</Code></Error>",
      first.substr(0, first.size() / 2),
      "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
      first,
      first,  // a page that was seen
      last};
  size_t asked = 0;
  server_->Get("/bucket/", [&](const Request& request, Response& out) {
    EXPECT_EQ(request.has_param("continuation-token"), asked > 3);
    out.set_content(answers[std::min(asked++, answers.size() - 1)], "application/xml");
  });
  Start();
  std::vector<std::string> keys;
  const Status status = store_->List("", [&](const ObjectInfo& info) {
    keys.push_back(info.key);
    return Status();
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(keys, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(asked, answers.size());
}

TEST_F(S3StoreTest, PutsAgainWhatFailedBehindASuccess) {
  int puts = 0;
  server_->Put(kObject, [&](const Request&, Response& out) {
    if (++puts == 1) out.set_content("<Error><Code>SlowDown</Code></Error>", "application/xml");
  });
  Start();
  EXPECT_EQ(*Put("x"), PutOutcome::kCreated);
  EXPECT_EQ(puts, 2);
}

TEST_F(S3StoreTest, FetchesAgainWhatFellShortOfItsRange) {
  int gets = 0;
  server_->set_pre_routing_handler([&](const Request&, Response& out) {
    out.set_header("Content-Range", "bytes 10-19/100");
    AnswerWhole(out, 206, ++gets == 1 ? "01234" : "0123456789");
    return httplib::Server::HandlerResponse::Handled;
  });
  Start();
  Bytes out(10);
  const Status status = store_->GetRange(ObjectKey("some/key"), 10, out);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(AsText(out), "0123456789");
}

TEST_F(S3StoreTest, CorrectsItsClockOnceMoreAfterALie) {
  int puts = 0;
  server_->Put(kObject, [&](const Request&, Response& out) {
    if (++puts > 2) return;
    out.set_header("Date",
                   puts == 1 ? "Fri, 24 May 2013 00:00:00 GMT" : "Sat, 25 May 2013 00:00:00 GMT");
    Refuse(out, 403, "RequestTimeTooSkewed");
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  EXPECT_EQ(puts, 3);
}

TEST_F(S3StoreTest, AllRequestsOnTheirWayMoveToTheBucketsRegion) {
  options_.retry_deadline = std::chrono::minutes(5);  // time for a machine that is busy
  const std::string object(24 << 20, 'r');
  server_->set_pre_routing_handler([&](const Request& request, Response& out) {
    if (request.get_header_value("Authorization").find("/eu-west-1/") != std::string::npos) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    out.set_header("x-amz-bucket-region", "eu-west-1");
    Refuse(out, 301, "PermanentRedirect");
    return httplib::Server::HandlerResponse::Handled;
  });
  server_->Get(kObject, [&](const Request&, Response& out) {
    out.set_content(object, "application/octet-stream");
  });
  Start();
  Bytes out(object.size());
  const Status status = store_->GetRange(ObjectKey("some/key"), 0, out);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(AsText(out) == object);
}

TEST_F(S3StoreTest, AsksOnceMoreWhenTheObjectComesBetweenTwoQuestions) {
  int heads = 0;
  server_->Get(kObject, [&](const Request& request, Response& out) {
    if (request.method == "HEAD" && ++heads == 1) return Refuse(out, 404, "NoSuchKey");
    out.set_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT");
    out.set_content("content", "application/octet-stream");
  });
  Start();
  const Result<ObjectInfo> info = store_->Stat(ObjectKey("some/key"));
  ASSERT_TRUE(info.ok()) << info.status().ToString();
  EXPECT_EQ(info->size, 7u);
}

TEST_F(S3StoreTest, SaysWhichRequestCameToNothing) {
  options_.retry_deadline = std::chrono::milliseconds(300);
  server_->Get(kObject, [](const Request&, Response& out) { Refuse(out, 500, "InternalError"); });
  Start();
  const Status status = store_->Get(ObjectKey("some/key"), 10).status();
  EXPECT_TRUE(status.message().starts_with("get pre/some/key: given up after"))
      << status.ToString();
  EXPECT_NE(status.message().find("InternalError: because"), std::string::npos);
}

TEST_F(S3StoreTest, PutsOnlyDataIntoTheClassAsked) {
  options_.storage_class = "STANDARD_IA";
  std::map<std::string, std::string> classes;
  server_->Put(R"(/bucket/pre/.*)", [&](const Request& request, Response&) {
    classes[request.path] = request.get_header_value("x-amz-storage-class");
  });
  Start();
  const ByteSpan bytes = AsBytes("x");
  for (const char* key : {"data/00/a", "meta/00/a", "index/a", "snapshots/a", "config"}) {
    EXPECT_TRUE(store_->PutIfAbsent(ObjectKey(key), {&bytes, 1}).ok());
  }
  EXPECT_EQ(classes["/bucket/pre/data/00/a"], "STANDARD_IA");
  for (const char* key : {"meta/00/a", "index/a", "snapshots/a", "config"}) {
    EXPECT_EQ(classes["/bucket/pre/" + std::string(key)], "") << key;
  }
  const StoreUsage usage = store_->Usage();
  EXPECT_TRUE(usage.metered);
  EXPECT_EQ(usage.writes, 5u);
  EXPECT_EQ(usage.bytes_up, 5u);
  EXPECT_NEAR(usage.usd, (4 * 0.005 + 0.01) / 1000, 1e-12);
}

// An upload of 12 MiB in parts of 5 MiB.
class S3MultipartTest : public S3StoreTest {
 protected:
  S3MultipartTest() : object_(12 << 20, 'm') {
    options_.multipart_bytes = 1 << 20;
    options_.part_bytes = 5 << 20;
    server_->Get(kObject, [](const Request&, Response& out) { Refuse(out, 404, "NoSuchKey"); });
    server_->Post(kObject, [this](const Request& request, Response& out) {
      if (request.has_param("uploads")) {
        out.set_content(
            "<InitiateMultipartUploadResult><UploadId>up+1</UploadId>"
            "</InitiateMultipartUploadResult>",
            "application/xml");
        return;
      }
      EXPECT_EQ(request.get_param_value("uploadId"), "up+1");
      completion_ = request.body;
      if (completing_ != nullptr) return completing_(out);
      out.set_content(answer_, "application/xml");
    });
    server_->Put(kObject, [this](const Request& request, Response& out) {
      const size_t part = std::stoul(request.get_param_value("partNumber"));
      if (part == refused_) return Refuse(out, 403, "AccessDenied");
      out.set_header(
          "ETag", "\"" + std::to_string(part) + "-" + std::to_string(request.body.size()) + "\"");
    });
    server_->Delete(kObject, [this](const Request& request, Response& out) {
      EXPECT_EQ(request.get_param_value("uploadId"), "up+1");
      ++aborted_;
      out.status = 204;
    });
  }

  const std::string object_;
  std::string answer_ = "<CompleteMultipartUploadResult/>";
  std::string completion_;
  std::function<void(Response&)> completing_;
  size_t refused_ = 0;
  std::atomic<int> aborted_ = 0;
};

TEST_F(S3MultipartTest, UploadsPartsAndJoinsThem) {
  Start();
  EXPECT_EQ(*Put(object_), PutOutcome::kCreated);
  EXPECT_NE(completion_.find("<PartNumber>1</PartNumber><ETag>\"1-5242880\"</ETag>"),
            std::string::npos)
      << completion_;
  EXPECT_NE(completion_.find("<PartNumber>3</PartNumber><ETag>\"3-2097152\"</ETag>"),
            std::string::npos);
  EXPECT_EQ(aborted_, 0);
}

TEST_F(S3MultipartTest, AbortsWhenAPartFails) {
  refused_ = 2;
  Start();
  EXPECT_TRUE(Put(object_).status().Is(StatusCode::kPermissionDenied));
  EXPECT_EQ(completion_, "");
  EXPECT_EQ(aborted_, 1);
}

TEST_F(S3MultipartTest, AbortsWhenTheEndIsAnErrorInDisguise) {
  options_.retry_deadline = std::chrono::milliseconds(300);
  answer_ = "<Error><Code>InternalError</Code></Error>";
  Start();
  EXPECT_TRUE(Put(object_).status().Is(StatusCode::kIo));
  EXPECT_EQ(aborted_, 1);
}

TEST_F(S3MultipartTest, KnowsAnUploadThatWasCompletedByAnAttemptWhoseAnswerWasLost) {
  int completions = 0;
  completing_ = [&](Response& out) {
    ++completions;
    if (completions == 1) Refuse(out, 500, "InternalError");
    if (completions > 1) Refuse(out, 404, "NoSuchUpload");
  };
  server_->set_pre_routing_handler([&](const Request& request, Response& out) {
    if (request.method != "HEAD" || completions == 0) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    out.set_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT");
    out.set_content(object_, "application/octet-stream");
    return httplib::Server::HandlerResponse::Handled;
  });
  Start();
  const Result<PutOutcome> outcome = Put(object_);
  ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
  EXPECT_EQ(*outcome, PutOutcome::kCreated);
  EXPECT_EQ(completions, 2);
  EXPECT_EQ(aborted_, 0);
}

TEST(S3Options, AreTestedBeforeAnythingIsSent) {
  const auto open = [](S3Options options) {
    return S3Store::Open(std::move(options), nullptr).status();
  };
  EXPECT_TRUE(open({.bucket = "Upper"}).Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(open({.bucket = "ab"}).Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(open({.bucket = "good", .endpoint = "host:1"}).Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(open({.bucket = "good", .part_bytes = 1}).Is(StatusCode::kInvalidArgument));
}

TEST(S3Address, IsVirtualHostForAwsAndPathForOthers) {
  const auto address = [](S3Options options) {
    return S3Client(std::move(options), nullptr, nullptr).Address();
  };
  EXPECT_EQ(address({.bucket = "b-1", .region = "eu-west-1"}),
            "https://b-1.s3.eu-west-1.amazonaws.com/");
  EXPECT_EQ(address({.bucket = "b.1", .region = "eu-west-1"}),
            "https://s3.eu-west-1.amazonaws.com/b.1/");
  EXPECT_EQ(address({.bucket = "b-1", .region = "cn-north-1"}),
            "https://b-1.s3.cn-north-1.amazonaws.com.cn/");
  EXPECT_EQ(address({.bucket = "b-1", .endpoint = "http://host:9000/base/"}),
            "http://host:9000/base/b-1/");
  EXPECT_EQ(
      address(
          {.bucket = "b-1", .endpoint = "http://host:9000", .addressing = S3Addressing::kVirtual}),
      "http://b-1.host:9000/");
}

}  // namespace
}  // namespace snapstore
