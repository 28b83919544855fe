// Calls, faults, accounts, and the time that passes.
#include "tests/orchestrator/lifecycle/simulated_cloud.h"

#include <algorithm>

#include "tests/orchestrator/lifecycle/simulated_call.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kWorldTickMs = 600'000;
constexpr size_t kViolationsMax = 5;
constexpr int kBadRequest = 400;
constexpr int kServerError = 500;
constexpr int kUnavailable = 503;

int HttpStatusOf(const std::string& code) {
  if (code == "RequestLimitExceeded" || code == "Unavailable") return kUnavailable;
  if (code == "InternalError" || code.starts_with("Insufficient")) return kServerError;
  return kBadRequest;
}

std::string TimeText(int64_t now_ms) {
  const int64_t seconds = (now_ms - SimulatedClock::kStartMs) / 1000;
  return fmt::format("day {} {:02}:{:02}:{:02}.{:03}", seconds / 86'400, seconds / 3600 % 24,
                     seconds / 60 % 60, seconds % 60, now_ms % 1000);
}

}  // namespace

SimulatedCloud::SimulatedCloud(SimulatedClock* clock, uint64_t seed)
    : clock_(clock), seed_(seed), random_(seed), world_random_(seed ^ 0x5bd1e995) {
  for (const char zone : {'a', 'b', 'c'}) {
    Ec2Subnet subnet;
    subnet.id = SubnetOf(zone);
    subnet.vpc_id = kVpc;
    subnet.availability_zone = fmt::format("{}{}", kRegion, zone);
    subnet.cidr = fmt::format("10.{}.0.0/16", zone - 'a' + 1);
    subnet.state = "available";
    subnet.default_for_az = true;
    subnets_.push_back(subnet);
  }
  SimSnapshot base;
  base.shown.id = "snap-base";
  base.shown.state = "completed";
  base.shown.volume_size_gib = 8;
  base.images.insert(kImage);
  snapshots_.Add(base);
  SimImage image;
  image.shown.id = kImage;
  image.shown.state = "available";
  image.shown.name = "base";
  image.shown.architecture = "x86_64";
  image.shown.root_device_name = "/dev/xvda";
  image.shown.root_device_type = "ebs";
  image.shown.devices.push_back({.device_name = "/dev/xvda", .snapshot_id = "snap-base"});
  image_names_["base"] = kImage;
  images_.Add(image);
  MovePrices();
  At(Now() + kHourMs, EventKind::kPrices, "");
  At(Now() + kWorldTickMs, EventKind::kWorld, "");
}

// Calls.

AwsFailure SimulatedCloud::Refuse(const std::string& code, const std::string& message) {
  const int http = HttpStatusOf(code);
  return {.status = Status(StatusCodeOfAwsCode(code, http), code + ": " + message),
          .http_status = http,
          .code = code,
          .message = message};
}

bool SimulatedCloud::Chance(double probability) {
  if (probability <= 0) return false;
  constexpr double kSteps = 1e9;
  return static_cast<double>(random_.Below(1'000'000'000)) < probability * kSteps;
}

int64_t SimulatedCloud::Between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(high - low + 1)));
}

std::string SimulatedCloud::NewId(const char* prefix) {
  return fmt::format("{}{:017x}", prefix, next_id_++);
}

int64_t SimulatedCloud::VisibleAt() {
  return Chance(faults.late) ? Now() + Between(1, faults.late_ms_max) : 0;
}

void SimulatedCloud::Script(const std::string& action, int skip, const std::string& fault) {
  script_.push_back({action, skip, fault});
}

std::optional<AwsFailure> SimulatedCloud::FaultOf(const char* action, bool changes,
                                                  bool* loses_answer) {
  for (auto scripted = script_.begin(); scripted != script_.end(); ++scripted) {
    if (scripted->action != action) continue;
    if (scripted->skip-- > 0) break;
    const std::string fault = scripted->fault;
    script_.erase(scripted);
    if (fault == "throttle") return Refuse("RequestLimitExceeded", "scripted");
    if (fault != "lose") {
      const size_t code = std::min(fault.find(": "), fault.size());
      return Refuse(fault.substr(0, code),
                    code == fault.size() ? "scripted" : fault.substr(code + 2));
    }
    *loses_answer = true;
    return std::nullopt;
  }
  if (Chance(faults.throttled)) return Refuse("RequestLimitExceeded", "slow down");
  if (Chance(faults.internal)) return Refuse("InternalError", "try again");
  *loses_answer = changes && Chance(faults.answer_lost);
  return std::nullopt;
}

std::string SimulatedCloud::NodeOf(const std::string& id) {
  const Ec2Tags* tags = nullptr;
  const auto look = [&](auto* shelf) {
    if (const auto* thing = shelf->Find(id)) tags = &thing->shown.tags;
  };
  if (id.starts_with("smi-")) return id;
  if (id.starts_with("i-")) look(&instances_);
  if (id.starts_with("vol-")) look(&volumes_);
  if (id.starts_with("snap-")) look(&snapshots_);
  if (id.starts_with("ami-")) look(&images_);
  if (id.starts_with("eni-")) look(&interfaces_);
  if (tags == nullptr) return "";
  const auto node = tags->find(NodeTag::kNode);
  return node == tags->end() ? "" : node->second;
}

bool SimulatedCloud::Passes(const Filters& filters, const Ec2Tags& tags, const Facts& facts) {
  for (const auto& filter : filters) {
    const std::string& name = filter.first;
    const auto& values = filter.second;
    const auto among = [&values](const std::string& value) {
      return std::find(values.begin(), values.end(), value) != values.end();
    };
    bool passes = false;
    if (name == "tag-key") {
      passes = std::any_of(values.begin(), values.end(),
                           [&](const std::string& key) { return tags.contains(key); });
    } else if (name.starts_with("tag:")) {
      const auto tag = tags.find(name.substr(4));
      passes = tag != tags.end() && among(tag->second);
    } else if (const auto fact = facts(name)) {
      passes = among(*fact);
    } else {
      Violate("", fmt::format("a filter that the cloud does not have: {}", name));
    }
    if (!passes) return false;
  }
  return true;
}

// Accounts.

void SimulatedCloud::Note(const std::string& node, const std::string& text) {
  std::deque<std::string>& lines = accounts_[node];
  // Polls repeat themselves.
  if (!lines.empty() && lines.back().ends_with(" " + text)) return;
  lines.push_back(fmt::format("{} {}", TimeText(Now()), text));
  if (lines.size() > account_lines) lines.pop_front();
}

std::string SimulatedCloud::Account(const std::string& node) const {
  std::string text;
  const auto lines = accounts_.find(node);
  if (lines == accounts_.end()) return text;
  for (const std::string& line : lines->second) text += "    " + line + "\n";
  return text;
}

void SimulatedCloud::Violate(const std::string& node, const std::string& what) {
  if (violations_.size() >= kViolationsMax) return;
  violations_.push_back(fmt::format("seed {}, {}, node {}: {}\n  its last calls:\n{}", seed_,
                                    TimeText(Now()), node.empty() ? "-" : node, what,
                                    Account(node)));
}

std::string SimulatedCloud::Violations() const {
  std::string text;
  for (const std::string& one : violations_) text += one;
  return text;
}

std::vector<std::string> SimulatedCloud::InstancesOf(const std::string& node) const {
  std::vector<std::string> alive;
  for (const std::string& id : instances_.OfNode(node)) {
    const std::string& state = instances_.all().at(id).shown.state;
    if (state != "terminated" && state != "shutting-down") alive.push_back(id);
  }
  return alive;
}

void SimulatedCloud::CheckSingle(const std::string& node) {
  if (node.empty()) return;
  const auto alive = InstancesOf(node);
  if (alive.size() > 1) {
    Violate(node, fmt::format("has {} instances: {}", alive.size(), fmt::join(alive, ", ")));
  }
}

void SimulatedCloud::CheckCopies(const std::string& kind, const std::string& id,
                                 const std::string& lineage, int64_t version,
                                 const std::string& node) {
  std::set<std::string>& copies = lineages_[lineage];
  copies.erase(id);
  if (version > 0 && !node.empty()) {
    const bool other = std::any_of(copies.begin(), copies.end(), [&](const std::string& copy) {
      if (const SimVolume* volume = volumes_.Find(copy)) return VersionOf(*volume) >= version;
      const SimSnapshot* snapshot = snapshots_.Find(copy);
      return snapshot != nullptr && snapshot->version >= version;
    });
    if (!other && may_delete && !may_delete(kind, id, node)) {
      Violate(node, fmt::format("the newest copy of its data ({} {}, version {}) is deleted", kind,
                                id, version));
    }
  }
}

// Time.

void SimulatedCloud::Advance(int64_t to_ms) {
  while (!events_.empty() && events_.begin()->first <= to_ms) {
    const auto [time, event] = *events_.begin();
    events_.erase(events_.begin());
    clock_->Set(time);
    Happen(event);
  }
  clock_->Set(to_ms);
}

void SimulatedCloud::Happen(const Event& event) {
  switch (event.kind) {
    case EventKind::kRuns:
      if (SimInstance* one = instances_.Find(event.id); one && one->shown.state == "pending") {
        BeginRunning(one);
      }
      return;
    case EventKind::kTerminated:
      return Terminated(event.id);
    case EventKind::kForgotten:
      for (auto& [name, targets] : balancers_) targets.erase(event.id);
      return instances_.Remove(event.id);
    case EventKind::kTaken:
      if (SimInstance* one = instances_.Find(event.id); one && one->taken_at_ms > 0) {
        TakeAway(event.id, "Server.SpotInstanceTermination",
                 "Server.SpotInstanceTermination: Spot instance termination");
      }
      return;
    case EventKind::kStarts:
      return StartInstance(event.id);
    case EventKind::kHeals:
      return Impair(event.id, false);
    case EventKind::kRequestForgotten:
      requests_.erase(event.id);
      return;
    case EventKind::kTokenForgotten:
      tokens_.erase(event.id);
      return;
    case EventKind::kPrices:
      MovePrices();
      return At(Now() + kHourMs, EventKind::kPrices, "");
    case EventKind::kWorld:
      HappenInTheWorld();
      return At(Now() + kWorldTickMs, EventKind::kWorld, "");
    default:
      HappenToStorage(event);
  }
}

// Tags.

Ec2Result<AwsReceipt> SimulatedCloud::CreateTags(const std::vector<std::string>& ids,
                                                 const Ec2Tags& tags) {
  return Call<AwsReceipt>("CreateTags", ids.front(), true, [&]() -> Ec2Result<AwsReceipt> {
    for (const std::string& id : ids) {
      const bool known = instances_.Find(id) || volumes_.Find(id) || snapshots_.Find(id) ||
                         images_.Find(id) || interfaces_.Find(id);
      if (!known) return Refuse("InvalidID.NotFound", id);
      if (instances_.Find(id)) instances_.Tag(id, tags, false);
      if (volumes_.Find(id)) volumes_.Tag(id, tags, false);
      if (snapshots_.Find(id)) snapshots_.Tag(id, tags, false);
      if (images_.Find(id)) images_.Tag(id, tags, false);
      if (interfaces_.Find(id)) interfaces_.Tag(id, tags, false);
      CheckSingle(NodeOf(id));
    }
    return AwsReceipt{};
  });
}

Ec2Result<AwsReceipt> SimulatedCloud::DeleteTags(const std::vector<std::string>& ids,
                                                 const Ec2Tags& tags) {
  return Call<AwsReceipt>("DeleteTags", ids.front(), true, [&]() -> Ec2Result<AwsReceipt> {
    for (const std::string& id : ids) {
      if (instances_.Find(id)) instances_.Tag(id, tags, true);
      if (volumes_.Find(id)) volumes_.Tag(id, tags, true);
      if (snapshots_.Find(id)) snapshots_.Tag(id, tags, true);
      if (images_.Find(id)) images_.Tag(id, tags, true);
      if (interfaces_.Find(id)) interfaces_.Tag(id, tags, true);
    }
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<Ec2Tag>> SimulatedCloud::DescribeTags(const Ec2Query& /*query*/) {
  return Refuse("UnsupportedOperation", "DescribeTags is not simulated");
}

}  // namespace snapstore::spot
