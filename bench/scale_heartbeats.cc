#include "bench/scale_heartbeats.h"

#include <fmt/format.h>
#include <httplib.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/status_macros.h"

namespace snapstore::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPath = "/aws/ec2/managedInstance/agent/heartbeat";
constexpr std::chrono::seconds kTimeout{30};
constexpr int kLookMs = 100;

// As an agent's that runs one application.
std::string Body(const std::string& instance_id) {
  const nlohmann::json application = {{"configId", "apc-1"},
                                      {"state", "running"},
                                      {"restoredFrom", nullptr},
                                      {"reason", nullptr},
                                      {"error", nullptr},
                                      {"checkpointId", "c-1"},
                                      {"checkpointAt", "2026-03-01T09:15:00.120Z"},
                                      {"cpuFeatures", {"avx2", "bmi2"}}};
  const nlohmann::json heartbeat = {{"instanceId", instance_id},
                                    {"privateIp", "127.0.0.1"},
                                    {"port", 1},
                                    {"controlToken", std::string(64, 'c')},
                                    {"version", "bench"},
                                    {"cpuFeatures", {"avx2", "bmi2", "sse4_2"}},
                                    {"applications", {application}},
                                    {"checkpoints", nlohmann::json::array()},
                                    {"notice", nullptr}};
  return nlohmann::json{{"heartbeat", heartbeat}}.dump();
}

class Heartbeats {
 public:
  Heartbeats(const LoadOptions& options, std::vector<std::string> ids, double interval_seconds)
      : options_(options), ids_(std::move(ids)), interval_seconds_(interval_seconds) {}

  nlohmann::ordered_json Run() {
    begin_ = Clock::now();
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(options_.connections));
    for (int i = 0; i < options_.connections; ++i) threads.emplace_back([this] { Thread(); });
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    while (poll(&input, 1, kLookMs) == 0) {
    }
    ended_ = true;
    for (std::thread& thread : threads) thread.join();
    return SummarizeLatency(ms_, statuses_);
  }

 private:
  void Thread() {
    httplib::Client client(
        fmt::format("{}://{}:{}", options_.tls ? "https" : "http", options_.host, options_.port));
    client.enable_server_certificate_verification(false);
    client.set_tcp_nodelay(true);
    client.set_bearer_token_auth(options_.token);
    client.set_read_timeout(kTimeout);
    while (!ended_) {
      const uint64_t index = next_++;
      const double due =
          static_cast<double>(index) * interval_seconds_ / static_cast<double>(ids_.size());
      const auto due_at =
          begin_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due));
      std::this_thread::sleep_until(due_at);
      const auto answer = client.Post(kPath, Body(ids_[index % ids_.size()]), "application/json");
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - due_at).count();
      const std::lock_guard lock(mutex_);
      ms_.push_back(ms);
      ++statuses_[answer ? answer->status : 0];
    }
  }

  const LoadOptions options_;
  const std::vector<std::string> ids_;
  const double interval_seconds_;
  Clock::time_point begin_;
  std::atomic<bool> ended_ = false;
  std::atomic<uint64_t> next_ = 0;
  std::mutex mutex_;  // guards what follows
  std::vector<double> ms_;
  std::map<int, size_t> statuses_;
};

}  // namespace

Result<std::string> RunHeartbeats(const LoadOptions& options, double interval_seconds) {
  SNAP_ASSIGN_OR_RETURN(std::vector<std::string> ids, ReadIds(options.ids_file));
  const auto report = Heartbeats(options, std::move(ids), interval_seconds).Run();
  return CheckAnswered(report, report, options);
}

}  // namespace snapstore::bench
