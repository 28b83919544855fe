#include "uploader/http/http_client.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <set>

#include "base/clock.h"
#include "tests/uploader/http/test_server.h"

namespace snapstore {
namespace {

using std::chrono::milliseconds;

class HttpClientTest : public testing::Test {
 protected:
  std::string Url(const std::string& path) const { return server_.url() + path; }

  TestServer server_;
};

TEST_F(HttpClientTest, ReturnsStatusHeadersAndBody) {
  server_->Get("/thing", [](const httplib::Request& request, httplib::Response& out) {
    out.status = 404;
    out.set_header("X-Thing", "  a b ");
    out.set_content("for " + request.get_header_value("X-Asked"), "text/plain");
  });
  server_.Start();
  HttpClient client({});
  const Result<HttpResponse> response =
      client.Send({.url = Url("/thing"), .headers = {{"X-Asked", "you"}}});
  ASSERT_TRUE(response.ok()) << response.status().ToString();
  EXPECT_EQ(response->status, 404);
  EXPECT_FALSE(response->Successful());
  EXPECT_EQ(response->Header("x-thing"), "a b");
  EXPECT_EQ(AsText(response->body), "for you");
}

TEST_F(HttpClientTest, SendsThePartsOfABodyInOrder) {
  std::string got;
  server_->Put("/put", [&](const httplib::Request& request, httplib::Response&) {
    got = request.body;
    EXPECT_EQ(request.get_header_value("Content-Length"), "1048583");
  });
  server_->Post("/post",
                [&](const httplib::Request& request, httplib::Response&) { got = request.body; });
  server_.Start();
  HttpClient client({});
  const std::string large(1 << 20, 'x');
  const std::array<ByteSpan, 4> parts = {AsBytes("abc"), AsBytes(""), AsBytes(large),
                                         AsBytes("defg")};
  ASSERT_TRUE(client.Send({.method = "PUT", .url = Url("/put"), .body = parts}).ok());
  EXPECT_EQ(got, "abc" + large + "defg");
  ASSERT_TRUE(client.Send({.method = "POST", .url = Url("/post"), .body = parts}).ok());
  EXPECT_EQ(got, "abc" + large + "defg");
  ASSERT_TRUE(client.Send({.method = "POST", .url = Url("/post")}).ok());
  EXPECT_EQ(got, "");
}

TEST_F(HttpClientTest, FillsTheBufferOfTheCaller) {
  server_->Get("/ten", [](const httplib::Request&, httplib::Response& out) {
    out.set_content("0123456789", "text/plain");
  });
  server_.Start();
  HttpClient client({});
  Bytes out(12);
  Result<HttpResponse> response = client.Send({.url = Url("/ten"), .into = out});
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->received, 10u);
  EXPECT_EQ(AsText(ByteSpan(out).first(10)), "0123456789");
  out.resize(9);
  response = client.Send({.url = Url("/ten"), .into = out});
  EXPECT_TRUE(response.status().Is(StatusCode::kIo));
  response = client.Send({.url = Url("/ten"), .body_max = 9});
  EXPECT_TRUE(response.status().Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(client.Send({.url = Url("/ten"), .body_max = 10}).ok());
}

TEST_F(HttpClientTest, UsesConnectionsAgain) {
  std::set<int> ports;
  server_->Get("/", [&](const httplib::Request& request, httplib::Response&) {
    ports.insert(request.remote_port);
  });
  server_->set_keep_alive_max_count(100);
  server_.Start();
  HttpClient client({});
  for (int n = 0; n < 20; ++n) ASSERT_TRUE(client.Send({.url = Url("/")}).ok());
  EXPECT_EQ(ports.size(), 1u);
}

TEST_F(HttpClientTest, SendsManyAtTheSameTime) {
  std::atomic<int> running = 0;
  std::atomic<int> most = 0;
  server_->Get(R"(/(\d+))", [&](const httplib::Request& request, httplib::Response& out) {
    most = std::max<int>(most, ++running);
    std::this_thread::sleep_for(milliseconds(200));
    --running;
    out.set_content(request.matches[1], "text/plain");
  });
  server_.Start();
  HttpClient client({});
  std::vector<HttpRequest> requests;
  requests.reserve(4);
  for (int n = 0; n < 4; ++n) requests.push_back({.url = Url("/" + std::to_string(n))});
  const std::vector<Result<HttpResponse>> responses = client.SendAll(requests);
  ASSERT_EQ(responses.size(), 4u);
  for (int n = 0; n < 4; ++n) EXPECT_EQ(AsText(responses[n]->body), std::to_string(n));
  EXPECT_GT(most, 1);
}

TEST_F(HttpClientTest, FollowsNoRedirect) {
  server_->Get("/from", [](const httplib::Request&, httplib::Response& out) {
    out.set_redirect("/to", 307);
  });
  server_.Start();
  EXPECT_EQ(HttpClient({}).Send({.url = Url("/from")})->status, 307);
}

TEST_F(HttpClientTest, GivesUpOnAServerThatStalls) {
  server_->Get("/", [](const httplib::Request&, httplib::Response&) {
    std::this_thread::sleep_for(milliseconds(3000));
  });
  server_.Start();
  HttpClient client({.stall_timeout = milliseconds(1000)});
  const Result<HttpResponse> response = client.Send({.url = Url("/?secret=1")});
  EXPECT_TRUE(response.status().Is(StatusCode::kTimeout)) << response.status().ToString();
  EXPECT_EQ(response.status().message().find("secret"), std::string::npos);
}

TEST_F(HttpClientTest, EndsWhenCancelled) {
  std::atomic<bool> cancelled = false;
  server_->Get("/", [&](const httplib::Request&, httplib::Response&) {
    cancelled = true;
    std::this_thread::sleep_for(milliseconds(2000));
  });
  server_.Start();
  const Stopwatch watch;
  HttpClient client({.cancelled = [&] { return cancelled.load(); }});
  EXPECT_TRUE(client.Send({.url = Url("/")}).status().Is(StatusCode::kCancelled));
  EXPECT_LT(watch.Seconds(), 1.5);
}

TEST_F(HttpClientTest, TellsWhatWentWrongWithTheNetwork) {
  const std::string url = Url("/");
  server_.Start();
  server_.Stop();
  const Result<HttpResponse> refused = HttpClient({}).Send({.url = url});
  EXPECT_TRUE(refused.status().Is(StatusCode::kIo)) << refused.status().ToString();
  EXPECT_NE(refused.status().message().find("127.0.0.1:"), std::string::npos);
  EXPECT_TRUE(HttpClient({})
                  .Send({.url = "gopher://127.0.0.1/"})
                  .status()
                  .Is(StatusCode::kInvalidArgument));
}

TEST(HttpClient, SaysAgainAndAgainThatANameIsUnknown) {
  HttpClient client({});
  for (int n = 0; n < 3; ++n) {
    const Status status = client.Send({.url = "http://no-such-host.invalid/"}).status();
    EXPECT_TRUE(status.Is(StatusCode::kIo)) << status.ToString();
    EXPECT_NE(status.message().find("no-such-host.invalid"), std::string::npos) << status.message();
  }
}

TEST_F(HttpClientTest, KeepsToTheBandwidthLimit) {
  const std::string body(300'000, 'x');
  server_->Get("/", [&](const httplib::Request&, httplib::Response& out) {
    out.set_content(body, "text/plain");
  });
  server_->Put("/", [](const httplib::Request&, httplib::Response&) {});
  server_.Start();
  BandwidthLimit up(1'000'000);
  BandwidthLimit down(1'000'000);
  HttpClient client({.upload_limit = &up, .download_limit = &down});
  const Stopwatch get;
  ASSERT_TRUE(client.Send({.url = Url("/")}).ok());
  EXPECT_GT(get.Seconds(), 0.2);
  EXPECT_LT(get.Seconds(), 1.0);
  const ByteSpan bytes = AsBytes(body);
  const Stopwatch put;
  ASSERT_TRUE(client.Send({.method = "PUT", .url = Url("/"), .body = {&bytes, 1}}).ok());
  EXPECT_GT(put.Seconds(), 0.2);
  EXPECT_LT(put.Seconds(), 1.0);
}

TEST(HttpDate, ReadsWhatServersSend) {
  EXPECT_EQ(*ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT"), *ParseTime("1994-11-06T08:49:37Z"));
  EXPECT_EQ(*ParseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT"), *ParseTime("1994-11-06T08:49:37Z"));
  for (const char* text : {"", "yesterday", "Sun, 06 Nov 1994 48:49:37 GMT"}) {
    EXPECT_TRUE(ParseHttpDate(text).status().Is(StatusCode::kIo)) << text;
  }
}

}  // namespace
}  // namespace snapstore
