#include "orchestrator/dashboard/dashboard.h"

#include "tests/orchestrator/api/api_fixture.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class DashboardTest : public ApiTest {
 protected:
  httplib::Result Get(const std::string& path) {
    httplib::Client client("127.0.0.1", server_->address().port);
    // Paths are sent as they stand here.
    client.set_url_encode(false);
    return client.Get(path);
  }
};

TEST_F(DashboardTest, ThePageIsServedWithoutAToken) {
  const auto page = Get("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(page->body, StartsWith("<!doctype html>"));
  EXPECT_EQ(CallAs("", "GET", kNodes).status, 401);
}

TEST_F(DashboardTest, ItsFilesHaveTheirTypes) {
  for (const auto& [path, type] : {std::pair{"/dashboard/app.js", "text/javascript; charset=utf-8"},
                                   {"/dashboard/dashboard.css", "text/css; charset=utf-8"},
                                   {"/dashboard/favicon.svg", "image/svg+xml"}}) {
    const auto file = Get(path);
    ASSERT_TRUE(file) << path;
    EXPECT_EQ(file->status, 200) << path;
    EXPECT_EQ(file->get_header_value("Content-Type"), type);
    EXPECT_EQ(file->body, FindDashboardFile(path)->bytes);
  }
}

TEST_F(DashboardTest, EveryAnswerForbidsForeignCodeAndFrames) {
  for (const char* path : {"/", "/dashboard/app.js", "/dashboard/none"}) {
    const auto answer = Get(path);
    ASSERT_TRUE(answer) << path;
    const std::string policy = answer->get_header_value("Content-Security-Policy");
    EXPECT_THAT(policy, StartsWith("default-src 'self';")) << path;
    EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'")) << path;
    EXPECT_THAT(policy, Not(HasSubstr("unsafe"))) << path;
    EXPECT_EQ(answer->get_header_value("X-Content-Type-Options"), "nosniff") << path;
    EXPECT_EQ(answer->get_header_value("Referrer-Policy"), "no-referrer") << path;
    EXPECT_EQ(answer->get_header_value_count("Set-Cookie"), 0U) << path;
  }
}

TEST_F(DashboardTest, NothingElseIsServed) {
  for (const char* path :
       {"/dashboard/", "/dashboard/none.js", "/dashboard/../dashboard.cc", "/dashboard/./app.js",
        "/dashboard//app.js", "/dashboard/%2e%2e/listen", "/dashboard/..%2f..%2fetc%2fpasswd",
        "/dashboard/%2fetc/passwd", "/dashboard/app.js%00", "/dashboard/app.js/",
        "/dashboard/APP.JS", "/dashboard/index.html", "/dashboard/embed.cmake"}) {
    const auto answer = Get(path);
    ASSERT_TRUE(answer) << path;
    EXPECT_EQ(answer->status, 404) << path;
    EXPECT_THAT(answer->body, HasSubstr("ROUTE_DOESNT_EXIST")) << path;
  }
  // Outside its folder all is the API's.
  for (const char* path : {"/dashboard", "//", "/index.html", "/../", "/app.js"}) {
    const auto answer = Get(path);
    ASSERT_TRUE(answer) << path;
    EXPECT_EQ(answer->status, 401) << path;
  }
}

TEST_F(DashboardTest, AnswersAreCompressedTheCheapWay) {
  httplib::Client client("127.0.0.1", server_->address().port);
  client.set_decompress(false);
  const auto browser = client.Get("/", {{"Accept-Encoding", "gzip, deflate, br, zstd"}});
  ASSERT_TRUE(browser);
  EXPECT_EQ(browser->get_header_value("Content-Encoding"), "gzip");
  const auto brotli = client.Get("/", {{"Accept-Encoding", "br"}});
  ASSERT_TRUE(brotli);
  EXPECT_FALSE(brotli->has_header("Content-Encoding"));
}

TEST_F(DashboardTest, OnlyReadingIsAnswered) {
  httplib::Client client("127.0.0.1", server_->address().port);
  const auto head = client.Head("/");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_TRUE(head->body.empty());
  const auto put = client.Put("/dashboard/app.js", "x", "text/plain");
  ASSERT_TRUE(put);
  EXPECT_EQ(put->status, 401);
}

}  // namespace
}  // namespace snapstore::spot
