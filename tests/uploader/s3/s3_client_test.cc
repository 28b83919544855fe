// How S3Store behaves towards a server over time: connections, waiting, rates, trouble.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "tests/uploader/s3/s3_store_fixture.h"

namespace snapstore {
namespace {

class S3TrafficTest : public S3StoreTest {
 protected:
  S3TrafficTest() {
    server_->set_keep_alive_max_count(1 << 20);
    // By default it hangs up after five seconds, which pass on a busy machine.
    server_->set_keep_alive_timeout(60);
    server_->set_read_timeout(60);
    server_->set_write_timeout(60);
  }

  // Of requests seen until now.
  void NotePort(const Request& request) {
    const std::lock_guard lock(mutex_);
    ports_.insert(request.remote_port);
  }

  std::mutex mutex_;
  std::set<int> ports_;
};

TEST_F(S3TrafficTest, KeepsItsConnectionOverRefusals) {
  int requests = 0;
  server_->Put(kObject, [&](const Request& request, Response& out) {
    NotePort(request);
    ++requests;
    if (requests % 3 == 1) Refuse(out, 412, "PreconditionFailed");
    if (requests % 3 == 2) Refuse(out, 403, "AccessDenied");
  });
  Start();
  for (int n = 0; n < 30; ++n) (void)Put("x");
  EXPECT_EQ(requests, 30);
  EXPECT_EQ(ports_.size(), 1u);
}

TEST_F(S3TrafficTest, UsesTheConnectionsOfPiecesAgain) {
  const std::string object(32 << 20, 'x');
  server_->Get(kObject, [&](const Request& request, Response& out) {
    NotePort(request);
    out.set_content(object, "application/octet-stream");
  });
  Start();
  Bytes out(object.size());
  for (int n = 0; n < 3; ++n) ASSERT_TRUE(store_->GetRange(ObjectKey("some/key"), 0, out).ok());
  EXPECT_LE(ports_.size(), 4u) << "32 MiB are four pieces";
}

TEST_F(S3TrafficTest, WaitsAsLongAsTheServerAsks) {
  std::atomic<int> calls = 0;
  server_->Put(kObject, [&](const Request&, Response& out) {
    if (++calls > 1) return;
    out.set_header("Retry-After", "1");
    Refuse(out, 503, "SlowDown");
  });
  Start();
  const Stopwatch watch;
  EXPECT_TRUE(Put("x").ok());
  EXPECT_GE(watch.Seconds(), 1.0);
}

TEST_F(S3TrafficTest, FindsTheRateThatTheServerStandsAndGoesBackWhenItStandsMore) {
  std::atomic<int> cap = 2;
  std::atomic<int> running = 0;
  std::atomic<uint64_t> served = 0;
  server_->new_task_queue = [] { return new httplib::ThreadPool(32); };
  server_->Put(R"(/bucket/pre/.*)", [&](const Request&, Response& out) {
    if (++running > cap) {
      --running;
      return Refuse(out, 503, "SlowDown");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    --running;
    ++served;
  });
  options_.retry_deadline = std::chrono::milliseconds(60'000);
  Start();
  std::atomic<bool> stop = false;
  std::atomic<int> failed = 0;
  std::vector<std::thread> writers;
  writers.reserve(16);
  for (int writer = 0; writer < 16; ++writer) {
    writers.emplace_back([&, writer] {
      const ByteSpan bytes = AsBytes("x");
      for (int n = 0; !stop; ++n) {
        const ObjectKey key(std::to_string(writer) + "/" + std::to_string(n));
        if (!store_->PutIfAbsent(key, {&bytes, 1}).ok()) ++failed;
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // settle
  const uint64_t refused_before = store_->Usage().throttled;
  const uint64_t served_before = served;
  std::this_thread::sleep_for(std::chrono::milliseconds(2000));
  const uint64_t refused = store_->Usage().throttled - refused_before;
  const uint64_t put = served - served_before;
  EXPECT_LE(store_->client().RequestsAtOnce(), 4u);
  EXPECT_GT(put, 20u);
  EXPECT_LT(refused, put / 4) << put << " served";
  cap = 1000;
  const Stopwatch watch;
  while (store_->client().RequestsAtOnce() < 16 && watch.Seconds() < 20) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(store_->client().RequestsAtOnce(), 16u);
  stop = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failed, 0);
  RecordProperty("refused_while_settled", std::to_string(refused));
  RecordProperty("served_while_settled", std::to_string(put));
}

TEST_F(S3TrafficTest, KeepsToTheRateOfItsSettingsInBothDirections) {
  constexpr size_t kRate = 10 << 20;
  constexpr size_t kBytes = 3 * kRate;
  options_.upload_bytes_per_second = options_.download_bytes_per_second = kRate;
  options_.multipart_bytes = 1 << 30;
  const std::string object(kBytes, 'x');
  server_->set_payload_max_length(2 * kBytes);
  server_->Put(kObject, [](const Request&, Response&) {});
  server_->Get(kObject, [&](const Request&, Response& out) {
    out.set_content(object, "application/octet-stream");
  });
  Start();
  // A tenth of a second of slack below; above it is the machine that may be busy.
  const Stopwatch up;
  ASSERT_TRUE(Put(object).ok());
  const double up_seconds = up.Seconds();
  Bytes out(kBytes);
  const Stopwatch down;
  ASSERT_TRUE(store_->GetRange(ObjectKey("some/key"), 0, out).ok());
  const double down_seconds = down.Seconds();
  for (const double seconds : {up_seconds, down_seconds}) {
    EXPECT_GT(seconds, 2.7);
    EXPECT_LT(seconds, 6.0);
  }
  RecordProperty("up_seconds", std::to_string(up_seconds));
  RecordProperty("down_seconds", std::to_string(down_seconds));
}

TEST_F(S3TrafficTest, ItsRateCanBeLiftedInTheMiddleOfATransfer) {
  options_.upload_bytes_per_second = 1 << 20;
  options_.multipart_bytes = 1 << 30;
  const std::string object(64 << 20, 'x');  // a minute's worth
  server_->set_payload_max_length(2 * object.size());
  server_->Put(kObject, [](const Request&, Response&) {});
  Start();
  std::thread lifter([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    store_->LiftBandwidthLimits(true);
  });
  const Stopwatch up;
  EXPECT_TRUE(Put(object).ok());
  EXPECT_LT(up.Seconds(), 30);
  lifter.join();
}

TEST_F(S3TrafficTest, TriesAgainAfterAConflictOfConditions) {
  std::atomic<int> calls = 0;
  server_->Put(kObject, [&](const Request&, Response& out) {
    if (++calls == 1) Refuse(out, 409, "ConditionalRequestConflict");
  });
  Start();
  EXPECT_EQ(*Put("x"), PutOutcome::kCreated);
  EXPECT_EQ(calls, 2);
}

TEST_F(S3TrafficTest, SignsForTheRegionThatAMalformedHeaderNames) {
  std::atomic<int> calls = 0;
  server_->Put(kObject, [&](const Request& request, Response& out) {
    ++calls;
    if (request.get_header_value("Authorization").find("/eu-south-2/s3/") != std::string::npos) {
      return;
    }
    AnswerWhole(out, 400,
                "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message>"
                "<Region>eu-south-2</Region></Error>");
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(store_->client().Region(), "eu-south-2");
}

TEST_F(S3TrafficTest, GivesUpSoonWhereNobodyHasEverAnswered) {
  options_.retry_deadline = std::chrono::milliseconds(60'000);
  options_.contact_deadline = std::chrono::milliseconds(300);
  Start();
  server_.Stop();
  const Stopwatch watch;
  const Status status = Put("x").status();
  EXPECT_TRUE(status.Is(StatusCode::kIo)) << status.ToString();
  EXPECT_NE(status.message().find("no answer after"), std::string::npos) << status.message();
  EXPECT_LT(watch.Seconds(), 20);
}

TEST_F(S3TrafficTest, FetchesAgainWhatItsChecksumDoesNotFit) {
  options_.checksum = S3Checksum::kCrc32c;
  int wrong = 1;
  server_->Get(kObject, [&](const Request& request, Response& out) {
    EXPECT_EQ(request.get_header_value("x-amz-checksum-mode"), "ENABLED");
    out.set_header("x-amz-checksum-crc32c", "4waSgw==");
    out.set_content(wrong-- > 0 ? "12345678X" : "123456789", "application/octet-stream");
  });
  Start();
  EXPECT_EQ(AsText(*store_->Get(ObjectKey("some/key"), 100)), "123456789");
  wrong = 100;
  const Status status = store_->Get(ObjectKey("some/key"), 100).status();
  EXPECT_TRUE(status.Is(StatusCode::kCorruption)) << status.ToString();
}

TEST_F(S3TrafficTest, SendsOddPathsAsTheyAre) {
  options_.prefix = "my backups/größe 100%/a/../b";
  std::string target;
  server_->set_pre_routing_handler([&](const Request& request, Response&) {
    target = request.target;
    return httplib::Server::HandlerResponse::Handled;
  });
  Start();
  EXPECT_TRUE(Put("x").ok());
  EXPECT_EQ(target, "/bucket/my%20backups/gr%C3%B6%C3%9Fe%20100%25/a/../b/some/key");
}

}  // namespace
}  // namespace snapstore
