// FakeEbs: a server that speaks DescribeSnapshots and EBS direct of snapshots in memory, and lies
// when it is told to.
#ifndef SNAPSTORE_TESTS_TOOLS_FAKE_EBS_H_
#define SNAPSTORE_TESTS_TOOLS_FAKE_EBS_H_

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/base64.h"
#include "base/sha256.h"
#include "tests/uploader/http/test_server.h"

namespace snapstore {

struct FakeEbsSnapshot {
  std::string volume_id = "vol-1";
  std::string state = "completed";
  uint64_t gib = 1;
  std::map<uint64_t, std::string> blocks = {};
};

class FakeEbs {
 public:
  static constexpr size_t kBlock = 512 << 10;
  using Json = nlohmann::json;

  FakeEbs() {
    constexpr size_t kThreads = 40;
    server_->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_->set_keep_alive_timeout(1);
    server_->Post("/", [this](const auto& in, auto& out) { Describe(in, &out); });
    server_->Get(R"(/snapshots/([^/]+)/(blocks|changedblocks))",
                 [this](const auto& in, auto& out) { List(in, &out); });
    server_->Get(R"(/snapshots/([^/]+)/blocks/([0-9]+))",
                 [this](const auto& in, auto& out) { Get(in, &out); });
    server_.Start();
  }
  ~FakeEbs() { server_.Stop(); }

  std::string url() const { return server_.url(); }

  // While no request is under way.
  std::map<std::string, FakeEbsSnapshot> snapshots;
  size_t page_size = 10'000;
  std::function<void(Json*)> edit_page = nullptr;
  std::function<void(uint64_t index, std::string* bytes, std::string* checksum)> edit_block =
      nullptr;
  int throttle = 0;         // so many requests for blocks are refused first
  bool unrelated = false;   // ListChangedBlocks refuses
  size_t expire_after = 0;  // tokens of before are refused after so many blocks

  std::set<uint64_t> read;  // indexes of blocks handed out
  std::atomic<int> lists = 0;
  std::atomic<int> at_once = 0;
  std::atomic<int> at_once_most = 0;

 private:
  static void Refuse(int status, const std::string& code, httplib::Response* out) {
    out->status = status;
    out->set_header("x-amzn-ErrorType", code);
    out->set_content(Json{{"Message", "no"}}.dump(), "application/json");
  }

  std::string Token(const std::string& id, uint64_t index) const {
    return fmt::format("{}-{}-{}", id, index, generation_);
  }

  void Describe(const httplib::Request& in, httplib::Response* out) {
    const std::string id = in.get_param_value("SnapshotId.1");
    const auto found = snapshots.find(id);
    if (found == snapshots.end()) {
      out->status = 400;
      out->set_content(
          "<Response><Errors><Error><Code>InvalidSnapshot.NotFound</Code><Message>The snapshot '" +
              id + "' does not exist.</Message></Error></Errors></Response>",
          "text/xml");
      return;
    }
    out->set_content(
        fmt::format("<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>{}</snapshotId>"
                    "<volumeId>{}</volumeId><status>{}</status><progress>45%</progress>"
                    "<volumeSize>{}</volumeSize></item></snapshotSet></DescribeSnapshotsResponse>",
                    id, found->second.volume_id, found->second.state, found->second.gib),
        "text/xml");
  }

  void List(const httplib::Request& in, httplib::Response* out) {
    const std::lock_guard lock(mutex_);
    ++lists;
    const std::string id = in.matches[1];
    const bool changed = in.matches[2] == "changedblocks";
    const std::string first = in.get_param_value("firstSnapshotId");
    if (!snapshots.contains(id) || (changed && !snapshots.contains(first))) {
      return Refuse(404, "ResourceNotFoundException", out);
    }
    if (changed && unrelated) return Refuse(400, "ValidationException", out);
    const auto& now = snapshots[id].blocks;
    std::map<uint64_t, bool> indexes;  // whether it is there now
    for (const auto& [index, bytes] : now) indexes[index] = true;
    if (changed) {
      for (const auto& [index, bytes] : snapshots[first].blocks) {
        if (!now.contains(index)) {
          indexes[index] = false;
        } else if (now.at(index) == bytes) {
          indexes.erase(index);
        }
      }
    }
    std::string from = in.get_param_value("pageToken");
    if (from.empty()) from = in.get_param_value("startingBlockIndex");
    Json page = {{"BlockSize", kBlock}, {"VolumeSize", snapshots[id].gib}, {"ExpiryTime", 1.5}};
    Json list = Json::array();
    for (auto at = indexes.lower_bound(from.empty() ? 0 : std::stoull(from)); at != indexes.end();
         ++at) {
      if (list.size() == page_size) {
        page["NextToken"] = std::to_string(at->first);
        break;
      }
      Json block = {{"BlockIndex", at->first}};
      if (at->second) block[changed ? "SecondBlockToken" : "BlockToken"] = Token(id, at->first);
      list.push_back(std::move(block));
    }
    page[changed ? "ChangedBlocks" : "Blocks"] = std::move(list);
    if (edit_page) edit_page(&page);
    out->set_content(page.dump(), "application/json");
  }

  void Get(const httplib::Request& in, httplib::Response* out) {
    const int now = ++at_once;
    if (now > at_once_most) at_once_most = now;
    Answer(in, out);
    --at_once;
  }

  void Answer(const httplib::Request& in, httplib::Response* out) {
    const std::string id = in.matches[1];
    const uint64_t index = std::stoull(in.matches[2]);
    std::string bytes;
    {
      const std::lock_guard lock(mutex_);
      if (throttle > 0) {
        --throttle;
        return Refuse(400, "RequestThrottledException", out);
      }
      if (in.get_param_value("blockToken") != Token(id, index)) {
        return Refuse(400, "ValidationException", out);
      }
      bytes = snapshots.at(id).blocks.at(index);
      read.insert(index);
      if (expire_after > 0 && --expire_after == 0) ++generation_;
    }
    std::string checksum = Base64Encode(Sha256::Of(AsBytes(bytes)).bytes);
    if (edit_block) edit_block(index, &bytes, &checksum);
    out->set_header("x-amz-Checksum-Algorithm", "SHA256");
    out->set_header("x-amz-Checksum", checksum);
    out->set_content(bytes, "application/octet-stream");
  }

  TestServer server_;
  std::mutex mutex_;
  int generation_ = 1;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_TOOLS_FAKE_EBS_H_
