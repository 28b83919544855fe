// What S3Store deletes, and the uploads it ends, against a server that answers as the test wants.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "tests/uploader/s3/s3_store_fixture.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

// Two answers to DeleteObjects; the store asks again for what failed for the moment.
TEST_F(S3StoreTest, DeletesTogetherAndNamesWhatStays) {
  std::vector<std::string> bodies;
  server_->Post("/bucket/", [&](const Request& request, Response& out) {
    EXPECT_TRUE(request.has_param("delete"));
    EXPECT_EQ(request.get_header_value("Content-MD5").size(), 24u);
    bodies.push_back(request.body);
    out.set_content(bodies.size() == 1
                        ? "<DeleteResult><Deleted><Key>pre/a</Key></Deleted>"
                          "<Error><Key>pre/b</Key><Code>InternalError</Code></Error>"
                          "<Error><Key>pre/c</Key><Code>AccessDenied</Code></Error></DeleteResult>"
                        : "<DeleteResult><Deleted><Key>pre/b</Key></Deleted></DeleteResult>",
                    "application/xml");
  });
  Start();
  const std::vector<ObjectKey> keys = {ObjectKey("a"), ObjectKey("b"), ObjectKey("c")};
  const Status status = store_->DeleteMany(keys);
  EXPECT_TRUE(status.Is(StatusCode::kPermissionDenied)) << status.ToString();
  EXPECT_NE(status.message().find("1 of 3 objects not deleted (c)"), std::string::npos)
      << status.message();
  ASSERT_EQ(bodies.size(), 2u);
  EXPECT_NE(bodies[0].find("<Key>pre/a</Key>"), std::string::npos) << bodies[0];
  EXPECT_EQ(bodies[1].find("<Key>pre/a</Key>"), std::string::npos) << bodies[1];
  EXPECT_EQ(store_->Usage().deletes, 2u);
  EXPECT_EQ(store_->Usage().usd, 0);
}

TEST_F(S3StoreTest, DeletesAHundredARequestWhereItIsNotAws) {
  std::vector<size_t> asked;
  server_->Post("/bucket/", [&](const Request& request, Response& out) {
    std::string answer = "<DeleteResult>";
    size_t keys = 0;
    for (size_t at = 0; (at = request.body.find("<Key>", at)) != std::string::npos; ++keys) {
      const size_t end = request.body.find("</Key>", at);
      answer += "<Deleted>" + request.body.substr(at, end - at) + "</Key></Deleted>";
      at = end;
    }
    asked.push_back(keys);
    out.set_content(answer + "</DeleteResult>", "application/xml");
  });
  Start();
  const Status status = store_->DeleteMany(NumberedKeys(250));
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_THAT(asked, testing::ElementsAre(100, 100, 50));
}

TEST_F(S3StoreTest, DoesNotTakeSilenceForADeletion) {
  options_.retry_deadline = std::chrono::milliseconds(200);
  server_->Post("/bucket/", [&](const Request&, Response& out) {
    out.set_content("<DeleteResult/>", "application/xml");
  });
  Start();
  const std::vector<ObjectKey> keys = {ObjectKey("a")};
  EXPECT_TRUE(store_->DeleteMany(keys).Is(StatusCode::kIo));
}

TEST_F(S3StoreTest, DeletesOneByOneWhereTheServerKnowsNoBetter) {
  // A thread a connection, or those without one would look stalled.
  server_->new_task_queue = [] { return new httplib::ThreadPool(32); };
  std::atomic<int> singles = 0;
  std::atomic<int> asked = 0;
  server_->Post("/bucket/", [&](const Request&, Response& out) {
    ++asked;
    Refuse(out, 501, "NotImplemented");
  });
  server_->Delete(R"(/bucket/pre/\d+)", [&](const Request& request, Response& out) {
    ++singles;
    if (request.path.ends_with("/7")) return Refuse(out, 404, "NoSuchKey");
    if (request.path.ends_with("/8")) return Refuse(out, 403, "AccessDenied");
    out.status = 204;
  });
  Start();
  const std::vector<ObjectKey> keys = NumberedKeys(40);
  const Status status = store_->DeleteMany(keys);
  EXPECT_TRUE(status.Is(StatusCode::kPermissionDenied)) << status.ToString();
  EXPECT_NE(status.message().find("1 of 40"), std::string::npos) << status.message();
  EXPECT_EQ(singles, 40);
  (void)store_->DeleteMany(keys);
  EXPECT_EQ(asked, 1) << "asked once, then known";
}

TEST_F(S3StoreTest, DeletesOneByOneWhereOnlyTheRightOnTheBucketIsMissing) {
  std::atomic<int> asked = 0;
  std::atomic<int> singles = 0;
  std::atomic<bool> allowed = false;
  server_->Post("/bucket/", [&](const Request&, Response& out) {
    ++asked;
    Refuse(out, 403, "AccessDenied");
  });
  server_->Delete(R"(/bucket/pre/\d+)", [&](const Request&, Response& out) {
    ++singles;
    if (!allowed) return Refuse(out, 403, "AccessDenied");
    out.status = 204;
  });
  Start();
  const std::vector<ObjectKey> keys = NumberedKeys(40);
  const Status refused = store_->DeleteMany(keys);
  EXPECT_TRUE(refused.Is(StatusCode::kPermissionDenied)) << refused.ToString();
  EXPECT_NE(refused.message().find("40 of 40"), std::string::npos) << refused.message();
  EXPECT_EQ(singles, 1) << "one tells for all";
  allowed = true;
  const Status deleted = store_->DeleteMany(keys);
  EXPECT_TRUE(deleted.ok()) << deleted.ToString();
  EXPECT_GE(singles, 41);
  EXPECT_EQ(asked, 2);
  EXPECT_TRUE(store_->DeleteMany(keys).ok());
  EXPECT_EQ(asked, 2) << "known by now";
}

TEST_F(S3StoreTest, AbortsOldUploadsOfItsOwnOverSeveralPages) {
  std::vector<std::string> aborted;
  server_->Get("/bucket/", [&](const Request& request, Response& out) {
    EXPECT_TRUE(request.has_param("uploads"));
    EXPECT_EQ(request.get_param_value("prefix"), "pre/");
    const bool first = !request.has_param("key-marker");
    const auto upload = [](const char* key, const char* id, const char* when) {
      return std::string("<Upload><Key>") + key + "</Key><UploadId>" + id +
             "</UploadId><Initiated>" + when + "</Initiated></Upload>";
    };
    out.set_header("Date", "Wed, 25 Nov 2026 12:00:00 GMT");
    out.set_content(
        "<ListMultipartUploadsResult>" +
            (first ? upload("pre/some%2Fkey", "old", "2026-11-24T11:59:58.000Z") +
                         upload("pre/some%2Fkey", "young", "2026-11-24T12:00:02.000Z") +
                         upload("pre/Not%20ours", "foreign", "2020-01-01T00:00:00.000Z") +
                         "<IsTruncated>true</IsTruncated><NextKeyMarker>pre/x</NextKeyMarker>"
                         "<NextUploadIdMarker>m</NextUploadIdMarker>"
                   : upload("pre/some%2Fkey", "gone", "2026-01-01T00:00:00.000Z")) +
            "</ListMultipartUploadsResult>",
        "application/xml");
  });
  server_->Delete(kObject, [&](const Request& request, Response& out) {
    aborted.push_back(request.get_param_value("uploadId"));
    if (aborted.back() == "gone") return Refuse(out, 404, "NoSuchUpload");
    out.status = 204;
  });
  Start();
  const Result<uint64_t> count = store_->AbortUploads(std::chrono::hours(24));
  ASSERT_TRUE(count.ok()) << count.status().ToString();
  EXPECT_EQ(*count, 2u);
  EXPECT_EQ(aborted, (std::vector<std::string>{"old", "gone"}));
}

}  // namespace
}  // namespace snapstore
