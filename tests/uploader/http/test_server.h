// TestServer: an HTTP server on loopback for one test, answering from a thread.
//
//   TestServer server;
//   server->Get("/path", [](const httplib::Request&, httplib::Response& out) { … });
//   server.Start();
//   … server.url() …
#ifndef SNAPSTORE_TESTS_UPLOADER_HTTP_TEST_SERVER_H_
#define SNAPSTORE_TESTS_UPLOADER_HTTP_TEST_SERVER_H_

#include <httplib.h>

#include <string>
#include <thread>

#include "base/check.h"

namespace snapstore {

class TestServer {
 public:
  TestServer() : port_(server_.bind_to_any_port("127.0.0.1")) { SNAP_CHECK(port_ > 0); }
  ~TestServer() { Stop(); }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  httplib::Server* operator->() { return &server_; }

  // Once, when all handlers are there.
  void Start() {
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  httplib::Server server_;
  const int port_;
  std::thread thread_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_UPLOADER_HTTP_TEST_SERVER_H_
