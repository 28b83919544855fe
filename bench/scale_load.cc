#include "bench/scale_load.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/random.h"
#include "base/status_macros.h"
#include "bench/scale_node.h"

namespace snapstore::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr const char* kNodes = "/aws/ec2/managedInstance";
constexpr std::chrono::seconds kAnswerTimeout{30};
constexpr size_t kPage = 100;

enum class Kind {
  kNode,
  kListNodes,
  kListStatus,
  kStatus,
  kEvents,
  kCosts,
  kUpdate,
  kCreate,
  kPause,
  kResume,
  kDelete
};

struct Share {
  Kind kind;
  const char* name;
  uint64_t per_mille;
};
// Pauses are followed by resumes and creations by deletions, so that the number of nodes stays.
constexpr std::array<Share, 11> kShares = {{{Kind::kNode, "node", 600},
                                            {Kind::kListNodes, "list of nodes", 50},
                                            {Kind::kListStatus, "list of states", 50},
                                            {Kind::kStatus, "state", 80},
                                            {Kind::kEvents, "events", 60},
                                            {Kind::kCosts, "costs", 60},
                                            {Kind::kUpdate, "update", 60},
                                            {Kind::kCreate, "create", 10},
                                            {Kind::kPause, "pause", 10},
                                            {Kind::kResume, "resume", 10},
                                            {Kind::kDelete, "delete", 10}}};

struct Sample {
  size_t share;  // index of kShares
  double ms;
  int status;  // 0: no answer
};

class Load {
 public:
  Load(const LoadOptions& options, std::vector<std::string> ids)
      : options_(options), ids_(std::move(ids)) {}

  Json Run() {
    begin_ = Clock::now() + std::chrono::milliseconds(100);
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(options_.connections));
    for (int i = 0; i < options_.connections; ++i) threads.emplace_back([this] { Thread(); });
    for (std::thread& thread : threads) thread.join();
    return Report();
  }

 private:
  void Thread() {
    httplib::Client client(
        fmt::format("{}://{}:{}", options_.tls ? "https" : "http", options_.host, options_.port));
    client.enable_server_certificate_verification(false);
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    client.set_bearer_token_auth(options_.token);
    client.set_read_timeout(kAnswerTimeout);
    while (true) {
      const uint64_t index = next_++;
      const double due = static_cast<double>(index) / options_.rate;
      if (due >= options_.warm_up_seconds + options_.seconds) return;
      const auto due_at =
          begin_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due));
      std::this_thread::sleep_until(due_at);
      SplitMix64 random(options_.seed * 1'000'003 + index);
      uint64_t draw = random.Below(1000);
      size_t share = 0;
      while (draw >= kShares[share].per_mille) draw -= kShares[share++].per_mille;
      const int status = Send(&client, kShares[share].kind, index, &random);
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - due_at).count();
      if (due < options_.warm_up_seconds || status < 0) continue;
      const std::lock_guard lock(mutex_);
      samples_.push_back({share, ms, status});
    }
  }

  const std::string& Any(SplitMix64* random) const { return ids_[random->Below(ids_.size())]; }
  std::string PageOf(const char* list, SplitMix64* random) const {
    if (options_.whole_lists) return fmt::format("{}{}", kNodes, list);
    return fmt::format("{}{}?limit={}&after={}", kNodes, list, kPage, Any(random));
  }

  // The oldest of those that wait; empty: none.
  std::string Take(std::deque<std::string>* waiting) {
    const std::lock_guard lock(mutex_);
    if (waiting->empty()) return "";
    std::string id = std::move(waiting->front());
    waiting->pop_front();
    return id;
  }
  void Keep(std::deque<std::string>* waiting, const std::string& id) {
    const std::lock_guard lock(mutex_);
    waiting->push_back(id);
  }

  // The answer's HTTP status; negative: there was nothing to ask for.
  int Send(httplib::Client* client, Kind kind, uint64_t index, SplitMix64* random) {
    const auto node = [](const std::string& id, const char* rest) {
      return fmt::format("{}/{}{}", kNodes, id, rest);
    };
    const auto get = [&](const std::string& path) { return StatusOf(client->Get(path)); };
    const auto put = [&](const std::string& path, const std::string& body) {
      return StatusOf(client->Put(path, body, "application/json"));
    };
    switch (kind) {
      case Kind::kNode:
        return get(node(Any(random), ""));
      case Kind::kListNodes:
        return get(PageOf("", random));
      case Kind::kListStatus:
        return get(PageOf("/status", random));
      case Kind::kStatus:
        return get(node(Any(random), "/status"));
      case Kind::kEvents:
        return get(node(Any(random), "/events"));
      case Kind::kCosts:
        return get(node(Any(random), "/costs?fromDate=2026-01-01&toDate=2027-01-01"));
      case Kind::kUpdate:
        return put(node(Any(random), ""),
                   fmt::format(R"({{"managedInstance": {{"description": "request {}"}}}})", index));
      case Kind::kCreate:
        return Create(client, index);
      case Kind::kPause: {
        const std::string& id = Any(random);
        const int status = put(node(id, "/pause"), "");
        if (status == 200) Keep(&paused_, id);
        return status;
      }
      case Kind::kResume: {
        const std::string id = Take(&paused_);
        if (id.empty()) return -1;
        const int status = put(node(id, "/resume"), "");
        // It is still on its way.
        if (status != 200) Keep(&paused_, id);
        return status;
      }
      case Kind::kDelete: {
        const std::string id = Take(&created_);
        if (id.empty()) return -1;
        return StatusOf(client->Delete(node(id, ""), kDeleteAll, "application/json"));
      }
    }
    return -1;
  }

  int Create(httplib::Client* client, uint64_t index) {
    const auto answer =
        client->Post(kNodes, NodeBody(static_cast<int>(index)).dump(), "application/json");
    const int status = StatusOf(answer);
    if (status != 200) return status;
    const auto body = nlohmann::json::parse(answer->body, nullptr, false);
    Keep(&created_, body["response"]["items"][0]["id"].get<std::string>());
    return status;
  }

  static int StatusOf(const httplib::Result& answer) { return answer ? answer->status : 0; }

  Json Report() const {
    std::array<std::vector<double>, kShares.size() + 1> ms;
    std::array<std::map<int, size_t>, kShares.size() + 1> statuses;
    for (const Sample& sample : samples_) {
      for (const size_t share : {sample.share, kShares.size()}) {
        ms[share].push_back(sample.ms);
        ++statuses[share][sample.status];
      }
    }
    Json report = {{"all", SummarizeLatency(ms.back(), statuses.back())}};
    for (size_t share = 0; share < kShares.size(); ++share) {
      report["kinds"][kShares[share].name] = SummarizeLatency(ms[share], statuses[share]);
    }
    return report;
  }

  const LoadOptions options_;
  const std::vector<std::string> ids_;
  Clock::time_point begin_;
  std::atomic<uint64_t> next_ = 0;
  std::mutex mutex_;  // guards what follows
  std::vector<Sample> samples_;
  std::deque<std::string> paused_;
  std::deque<std::string> created_;
};

}  // namespace

nlohmann::ordered_json SummarizeLatency(std::vector<double> ms,
                                        const std::map<int, size_t>& statuses) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&ms](double share) {
    const auto rank = static_cast<size_t>(share * static_cast<double>(ms.size()));
    return ms.empty() ? 0 : std::round(100 * ms[std::min(rank, ms.size() - 1)]) / 100;
  };
  Json summary = {{"requests", ms.size()},
                  {"p50_ms", at(0.5)},
                  {"p90_ms", at(0.9)},
                  {"p99_ms", at(0.99)},
                  {"max_ms", at(1)}};
  for (const auto& [status, count] : statuses) {
    summary["statuses"][status == 0 ? "none" : std::to_string(status)] = count;
  }
  return summary;
}

Result<std::vector<std::string>> ReadIds(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> ids;
  for (std::string line; std::getline(file, line);) ids.push_back(line);
  if (ids.empty()) return Status::NotFound(path + ": names nothing");
  return ids;
}

Result<std::string> CheckAnswered(const Json& all, const Json& report, const LoadOptions& options) {
  if (all["statuses"].value("none", size_t{0}) == all["requests"]) {
    return Status::Io(fmt::format("{}:{}: does not answer", options.host, options.port));
  }
  return report.dump();
}

Result<std::string> RunLoad(const LoadOptions& options) {
  SNAP_ASSIGN_OR_RETURN(std::vector<std::string> ids, ReadIds(options.ids_file));
  const Json report = Load(options, std::move(ids)).Run();
  return CheckAnswered(report["all"], report, options);
}

}  // namespace snapstore::bench
