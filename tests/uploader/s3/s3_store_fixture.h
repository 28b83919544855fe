// An S3Store against a server that answers as the test wants.
#ifndef SNAPSTORE_TESTS_UPLOADER_S3_S3_STORE_FIXTURE_H_
#define SNAPSTORE_TESTS_UPLOADER_S3_S3_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/clock.h"
#include "tests/uploader/http/test_server.h"
#include "uploader/s3_store.h"

namespace snapstore {

using httplib::Request;
using httplib::Response;

inline constexpr const char* kObject = "/bucket/pre/some/key";

// The whole text, also to a request for a range: httplib would cut that out of errors too.
inline void AnswerWhole(Response& out, int status, const std::string& text) {
  out.status = status;
  out.set_chunked_content_provider("application/xml", [text](size_t, httplib::DataSink& sink) {
    sink.write(text.data(), text.size());
    sink.done();
    return true;
  });
}

inline void Refuse(Response& out, int status, const std::string& code) {
  AnswerWhole(out, status, "<Error><Code>" + code + "</Code><Message>because</Message></Error>");
}

inline std::vector<ObjectKey> NumberedKeys(int count) {
  std::vector<ObjectKey> keys;
  keys.reserve(static_cast<size_t>(count));
  for (int n = 0; n < count; ++n) keys.emplace_back(std::to_string(n));
  return keys;
}

class S3StoreTest : public testing::Test {
 protected:
  S3StoreTest() {
    options_.bucket = "bucket";
    options_.prefix = "pre";
    options_.endpoint = server_.url();
    options_.retry_deadline = std::chrono::milliseconds(3000);
  }

  void Start() {
    server_.Start();
    auto chain = std::make_shared<AwsCredentialChain>(
        std::vector<CredentialSource>{{"test",
                                       [this]() -> Result<std::optional<AwsCredentials>> {
                                         return std::optional(AwsCredentials{
                                             .access_key_id = "KEY" + std::to_string(++fetched_),
                                             .secret_access_key = "the-secret",
                                             .session_token = "the-token"});
                                       }}},
        WallNanos);
    Result<std::unique_ptr<S3Store>> store = S3Store::Open(options_, std::move(chain));
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
  }

  Result<PutOutcome> Put(std::string_view text) {
    const ByteSpan bytes = AsBytes(text);
    return store_->PutIfAbsent(ObjectKey("some/key"), {&bytes, 1});
  }

  TestServer server_;
  S3Options options_;
  std::atomic<int> fetched_ = 0;
  std::unique_ptr<S3Store> store_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_UPLOADER_S3_S3_STORE_FIXTURE_H_
