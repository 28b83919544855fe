// What a node's agent talks to: a metadata service and a controller, on loopback.
#ifndef SNAPSTORE_TESTS_AGENT_NODE_FAKES_H_
#define SNAPSTORE_TESTS_AGENT_NODE_FAKES_H_

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace snapstore::agent {

using nlohmann::json;

// An httplib server in a thread, which can be stopped and started again at its port.
class LoopbackServer {
 public:
  virtual ~LoopbackServer() { Down(); }

  void Up() {
    server_ = std::make_unique<httplib::Server>();
    server_->set_keep_alive_max_count(1);
    AddRoutes(server_.get());
    if (port_ == 0) {
      port_ = server_->bind_to_any_port("127.0.0.1");
    } else {
      ASSERT_TRUE(server_->bind_to_port("127.0.0.1", port_));
    }
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
  }
  void Down() {
    if (!server_) return;
    server_->stop();
    thread_.join();
    server_.reset();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 protected:
  virtual void AddRoutes(httplib::Server* server) = 0;

 private:
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
  int port_ = 0;
};

class FakeMetadata : public LoopbackServer {
 public:
  void Set(const std::string& name, const std::string& text) {
    const std::lock_guard lock(mutex_);
    entries_[name] = text;
  }
  void Remove(const std::string& name) {
    const std::lock_guard lock(mutex_);
    entries_.erase(name);
  }
  // Tokens that were given out are good no more.
  void ForgetTokens() { ++generation_; }

  std::atomic<bool> has_tokens = true;
  std::atomic<int> tokens_given = 0;

 private:
  std::string Token() const { return "token-" + std::to_string(generation_.load()); }
  void AddRoutes(httplib::Server* server) override {
    server->Put("/latest/api/token",
                [this](const httplib::Request& request, httplib::Response& response) {
                  response.status = has_tokens ? 200 : 405;
                  if (!has_tokens) return;
                  EXPECT_TRUE(request.has_header("X-aws-ec2-metadata-token-ttl-seconds"));
                  ++tokens_given;
                  response.set_content(Token(), "text/plain");
                });
    server->Get("/latest/meta-data/(.*)", [this](const httplib::Request& request,
                                                 httplib::Response& response) {
      if (has_tokens && request.get_header_value("X-aws-ec2-metadata-token") != Token()) {
        response.status = 401;
        return;
      }
      const std::lock_guard lock(mutex_);
      const auto it = entries_.find(request.matches[1]);
      response.status = it == entries_.end() ? 404 : 200;
      if (it != entries_.end()) response.set_content(it->second, "text/plain");
    });
  }

  std::atomic<int> generation_ = 1;
  std::mutex mutex_;
  std::map<std::string, std::string> entries_ = {{"instance-id", "i-1"},
                                                 {"local-ipv4", "127.0.0.1"}};
};

// Keeps what it is told and answers as it was told to.
// What its constructor lets through ends the test either way.
// NOLINTNEXTLINE(bugprone-exception-escape)
class FakeController : public LoopbackServer {
 public:
  static constexpr const char* kToken = "token-of-the-controller";

  std::atomic<bool> keeps_address = false;  // of answers that are set from now on

  void Answer(bool wanted, const json& applications, double interval = 0.25) {
    const std::lock_guard lock(mutex_);
    answer_ = {{"response",
                {{"items",
                  {{{"managedInstanceId", "smi-1"},
                    {"applicationsWanted", wanted},
                    {"persistPrivateIp", keeps_address.load()},
                    {"intervalSeconds", interval},
                    {"applications", applications}}}}}}};
  }
  std::vector<json> heartbeats() const {
    const std::lock_guard lock(mutex_);
    return heartbeats_;
  }
  // The newest; null: none yet.
  json newest() const {
    const std::lock_guard lock(mutex_);
    return heartbeats_.empty() ? json() : heartbeats_.back();
  }
  // Of the first application in the newest.
  std::string State() const {
    const json newest = this->newest();
    return newest.is_object() && !newest["applications"].empty()
               ? newest["applications"][0].value("state", "")
               : "";
  }
  // All that were ever told, in order.
  std::vector<json> checkpoints() const {
    std::vector<json> all;
    for (const json& heartbeat : heartbeats()) {
      for (const json& one : heartbeat["checkpoints"]) all.push_back(one);
    }
    return all;
  }

  std::atomic<int> refusals = 0;  // so many heartbeats are of an unknown instance

 private:
  void AddRoutes(httplib::Server* server) override {
    server->Post("/aws/ec2/managedInstance/agent/heartbeat", [this](const httplib::Request& request,
                                                                    httplib::Response& response) {
      EXPECT_EQ(request.get_header_value("Authorization"), std::string("Bearer ") + kToken);
      EXPECT_EQ(request.get_param_value("accountId"), "act-1");
      const json body = json::parse(request.body, nullptr, false);
      ASSERT_TRUE(body.is_object() && body.contains("heartbeat")) << request.body;
      const std::lock_guard lock(mutex_);
      if (refusals > 0) {
        --refusals;
        response.status = 400;
        response.set_content(
            R"({"response": {"errors": [{"code": "INSTANCE_DOESNT_EXIST",
                             "message": "not known"}]}})",
            "application/json");
        return;
      }
      heartbeats_.push_back(body["heartbeat"]);
      response.set_content(answer_.dump(), "application/json");
    });
  }

  mutable std::mutex mutex_;
  json answer_;
  std::vector<json> heartbeats_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_NODE_FAKES_H_
