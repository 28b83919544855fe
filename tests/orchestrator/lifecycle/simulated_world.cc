// Markets, and what happens without anybody asking for it.
#include <algorithm>
#include <array>
#include <cmath>

#include "tests/orchestrator/lifecycle/simulated_call.h"

namespace snapstore::spot {
namespace {

// Source: "Amazon EC2 On-Demand Pricing" (us-east-1, Linux).
constexpr std::array<SimType, 8> kSimTypes = {{
    {"t3.medium", 2, 4096, 0.0416, true},
    {"m5.large", 2, 8192, 0.096, false},
    {"m5.xlarge", 4, 16384, 0.192, false},
    {"m6i.large", 2, 8192, 0.096, false},
    {"c5.large", 2, 4096, 0.085, false},
    {"c5.xlarge", 4, 8192, 0.17, false},
    {"r5.large", 2, 16384, 0.126, false},
    {"r6i.large", 2, 16384, 0.126, false},
}};
constexpr double kSpotShare = 0.35;
constexpr size_t kPricesKept = 30;
constexpr double kTicksPerDay = 144;

double Share(SplitMix64* random) {
  constexpr uint64_t kSteps = 1'000'000'000;
  return static_cast<double>(random->Below(kSteps)) / static_cast<double>(kSteps);
}

}  // namespace

double SimulatedCloud::OnDemandPrice(const std::string& type) const {
  const auto found = std::find_if(kSimTypes.begin(), kSimTypes.end(),
                                  [&](const SimType& one) { return type == one.name; });
  return found == kSimTypes.end() ? 0 : found->usd_per_hour;
}

SimMarket* SimulatedCloud::MarketOf(const std::string& type, const std::string& zone) {
  const auto found = markets_.find({type, zone});
  return found == markets_.end() ? nullptr : &found->second;
}

void SimulatedCloud::TakePlace(const SimInstance& instance, int64_t by) {
  SimMarket* const market =
      MarketOf(instance.shown.instance_type, instance.shown.availability_zone);
  if (market == nullptr) return;
  (instance.shown.lifecycle == "spot" ? market->spot_taken : market->on_demand_taken) += by;
}

void SimulatedCloud::MovePrices() {
  for (const SimType& type : kSimTypes) {
    for (const Ec2Subnet& subnet : subnets_) {
      SimMarket& market = markets_[{type.name, subnet.availability_zone}];
      if (market.type == nullptr) {
        market.type = &type;
        market.price = type.usd_per_hour * (kSpotShare + 0.1 * Share(&world_random_));
      } else {
        market.price *= 1 + 0.1 * (Share(&world_random_) - 0.5);
        market.price = std::clamp(market.price, 0.2 * type.usd_per_hour, 0.95 * type.usd_per_hour);
      }
      market.history.push_back(
          {type.name, subnet.availability_zone, "Linux/UNIX", market.price, Now() * kNanosPerMs});
      if (market.history.size() > kPricesKept) market.history.erase(market.history.begin());
    }
  }
}

Ec2Result<std::vector<Ec2SpotPrice>> SimulatedCloud::DescribeSpotPriceHistory(
    const SpotPriceQuery& query) {
  return Call<std::vector<Ec2SpotPrice>>("DescribeSpotPriceHistory", "", false, [&]() {
    std::vector<Ec2SpotPrice> found;
    for (const std::string& type : query.instance_types) {
      for (const Ec2Subnet& subnet : subnets_) {
        if (!query.availability_zone.empty() &&
            query.availability_zone != subnet.availability_zone) {
          continue;
        }
        const SimMarket* const market = MarketOf(type, subnet.availability_zone);
        if (market == nullptr) continue;
        // The newest first; the one that was in force at the beginning is the last.
        for (auto price = market->history.rbegin(); price != market->history.rend(); ++price) {
          found.push_back(*price);
          if (price->time_ns <= query.start_ns) break;
        }
      }
    }
    return Ec2Result<std::vector<Ec2SpotPrice>>(std::move(found));
  });
}

Ec2Result<std::vector<Ec2SpotRequest>> SimulatedCloud::DescribeSpotInstanceRequests(
    const Ec2Query& query) {
  return Call<std::vector<Ec2SpotRequest>>("DescribeSpotInstanceRequests", "", false, [&]() {
    std::vector<Ec2SpotRequest> found;
    for (const auto& [id, request] : requests_) {
      const auto fact = [&request = request](const std::string& filter) {
        return filter == "status-code" ? std::optional(request.status_code)
               : filter == "state"     ? std::optional(request.state)
                                       : std::nullopt;
      };
      if (Passes(query.filters, request.tags, fact)) found.push_back(request);
    }
    return Ec2Result<std::vector<Ec2SpotRequest>>(std::move(found));
  });
}

Ec2Result<AwsReceipt> SimulatedCloud::CancelSpotInstanceRequests(
    const std::vector<std::string>& ids) {
  return Call<AwsReceipt>("CancelSpotInstanceRequests", "", true, [&]() -> Ec2Result<AwsReceipt> {
    for (const std::string& id : ids) {
      const auto request = requests_.find(id);
      if (request == requests_.end()) {
        return Refuse("InvalidSpotInstanceRequestID.NotFound", id);
      }
      if (request->second.state != "closed") request->second.state = "cancelled";
    }
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<Ec2AvailabilityZone>> SimulatedCloud::DescribeAvailabilityZones(
    const Ec2Query& /*query*/) {
  std::vector<Ec2AvailabilityZone> zones;
  for (const Ec2Subnet& subnet : subnets_) {
    zones.push_back({subnet.availability_zone, subnet.availability_zone, "available", kRegion});
  }
  return zones;
}

Ec2Result<std::vector<Ec2InstanceType>> SimulatedCloud::DescribeInstanceTypes(
    const Ec2Query& query) {
  return Call<std::vector<Ec2InstanceType>>("DescribeInstanceTypes", "", false, [&]() {
    std::vector<Ec2InstanceType> found;
    for (const SimType& type : kSimTypes) {
      const auto fact = [&type](const std::string& filter) {
        return filter == "instance-type" ? std::optional<std::string>(type.name) : std::nullopt;
      };
      if (!Passes(query.filters, {}, fact)) continue;
      Ec2InstanceType shown;
      shown.name = type.name;
      shown.architectures = {"x86_64"};
      shown.usage_classes = {"on-demand", "spot"};
      shown.vcpus = type.vcpus;
      shown.memory_mib = type.memory_mib;
      shown.burstable = type.burstable;
      found.push_back(std::move(shown));
    }
    return Ec2Result<std::vector<Ec2InstanceType>>(std::move(found));
  });
}

Ec2Result<std::vector<Ec2InstanceTypeOffering>> SimulatedCloud::DescribeInstanceTypeOfferings(
    const Ec2Query& query) {
  return Call<std::vector<Ec2InstanceTypeOffering>>(
      "DescribeInstanceTypeOfferings", "", false, [&]() {
        std::vector<Ec2InstanceTypeOffering> found;
        for (const auto& [key, market] : markets_) {
          const auto fact = [&type = key.first](const std::string& filter) {
            return filter == "instance-type" ? std::optional(type) : std::nullopt;
          };
          if (Passes(query.filters, {}, fact)) found.push_back({key.first, key.second});
        }
        return Ec2Result<std::vector<Ec2InstanceTypeOffering>>(std::move(found));
      });
}

Ec2Result<std::vector<Ec2ReservedInstances>> SimulatedCloud::DescribeReservedInstances(
    const Ec2Query& /*query*/) {
  return Call<std::vector<Ec2ReservedInstances>>("DescribeReservedInstances", "", false, [&]() {
    return Ec2Result<std::vector<Ec2ReservedInstances>>(reservations);
  });
}

// By hand, or by itself.

std::string SimulatedCloud::LaunchByHand(char zone, const std::string& type) {
  const auto call = on_call;
  const CloudFaults were = faults;
  on_call = nullptr;
  faults = {};
  RunInstancesRequest request;
  request.image_id = kImage;
  request.instance_type = type;
  request.subnet_id = SubnetOf(zone);
  const auto launched = Launch(request);
  on_call = call;
  faults = were;
  if (!launched.ok()) return "";
  std::string id = launched->front().id;
  instances_.Find(id)->by_hand = true;
  return id;
}

std::string SimulatedCloud::MakeVolumeByHand(char zone) {
  SimVolume volume = MakeVolume(fmt::format("{}{}", kRegion, zone), {.volume_size_gib = 1}, {});
  volume.shown.state = "available";
  volume.visible_ms = 0;
  return volumes_.Add(std::move(volume)).shown.id;
}

void SimulatedCloud::RecommendRebalance(const std::string& id) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr || instance->rebalance_at_ms > 0) return;
  Note(NodeOf(id), fmt::format("it is recommended to leave {}", id));
  ++changes_;
  instance->rebalance_at_ms = Now();
}

void SimulatedCloud::ForgetWritten(const std::string& node, bool root) {
  std::erase_if(written_, [&](const auto& one) {
    return one.first.first == node && (one.first.second == "/dev/xvda") == root;
  });
}

void SimulatedCloud::SetDrought(const std::string& type, const std::string& zone, bool spot,
                                int64_t until_ms) {
  SimMarket* const market = MarketOf(type, zone);
  if (market == nullptr) return;
  (spot ? market->drought_until_ms : market->on_demand_drought_until_ms) = until_ms;
}

void SimulatedCloud::Interrupt(const std::string& id, int64_t notice_ms) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr || instance->shown.lifecycle != "spot" || instance->taken_at_ms > 0) {
    return;
  }
  if (instance->shown.state != "running" && instance->shown.state != "pending") return;
  Note(NodeOf(id), fmt::format("{} is interrupted, notice {} ms", id, notice_ms));
  ++changes_;
  if (notice_ms == 0) {
    return TakeAway(id, "Server.SpotInstanceTermination",
                    "Server.SpotInstanceTermination: Spot instance termination");
  }
  instance->taken_at_ms = Now() + notice_ms;
  const auto request = requests_.find(instance->shown.spot_request_id);
  if (request != requests_.end()) request->second.status_code = "marked-for-termination";
  At(instance->taken_at_ms, EventKind::kTaken, id);
}

void SimulatedCloud::TakeAway(const std::string& id, const std::string& code,
                              const std::string& message) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr) return;
  Note(NodeOf(id), fmt::format("{} is taken away: {}", id, code));
  ++changes_;
  BeginTermination(instance, code, message);
}

void SimulatedCloud::StopInstance(const std::string& id) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr || instance->shown.state != "running") return;
  Note(NodeOf(id), fmt::format("{} is stopped by hand", id));
  ++changes_;
  StopWriting(instance);
  instance->shown.state = "stopped";
}

void SimulatedCloud::StartInstance(const std::string& id) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr || instance->shown.state != "stopped") return;
  Note(NodeOf(id), fmt::format("{} is started by hand", id));
  ++changes_;
  BeginRunning(instance);
}

void SimulatedCloud::Impair(const std::string& id, bool impaired) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr) return;
  Note(NodeOf(id), fmt::format("{} is {}", id, impaired ? "impaired" : "well"));
  ++changes_;
  instance->impaired = impaired;
}

void SimulatedCloud::DeleteByHand(const std::string& id) {
  SimVolume* const volume = volumes_.Find(id);
  if (volume == nullptr || volume->shown.state != "available") return;
  Note(NodeOf(id), fmt::format("{} is deleted by hand", id));
  lineages_[volume->lineage].erase(id);
  volumes_.Remove(id);
}

void SimulatedCloud::HappenInTheWorld() {
  for (auto& [key, market] : markets_) {
    if (rates.droughts > 0 && Share(&world_random_) < rates.droughts / kTicksPerDay) {
      market.drought_until_ms = Now() + kHourMs * static_cast<int64_t>(1 + world_random_.Below(12));
      Count("spot droughts");
    }
    if (rates.on_demand_droughts > 0 &&
        Share(&world_random_) < rates.on_demand_droughts / kTicksPerDay) {
      market.on_demand_drought_until_ms =
          Now() + kHourMs * static_cast<int64_t>(1 + world_random_.Below(4));
      Count("on-demand droughts");
    }
  }
  const double all = rates.interrupted + rates.interrupted_at_once + rates.interrupted_silently +
                     rates.rebalance + rates.hardware + rates.stopped + rates.terminated +
                     rates.volume_attached;
  if (all <= 0) return;
  std::vector<std::pair<std::string, double>> victims;
  for (const auto& [id, instance] : instances_.all()) {
    const std::string& state = instance.shown.state;
    if (instance.by_hand || (state != "running" && state != "pending")) continue;
    const double share = Share(&world_random_);
    if (share < all / kTicksPerDay) victims.emplace_back(id, share * kTicksPerDay);
  }
  for (const auto& [id, share] : victims) HappenToOne(id, share);
}

void SimulatedCloud::HappenToOne(const std::string& id, double share) {
  const auto falls_in = [&share](double rate) {
    share -= rate;
    return share < 0;
  };
  const bool spot = instances_.Find(id)->shown.lifecycle == "spot";
  if (falls_in(rates.interrupted)) {
    if (spot) Count("interruptions with two minutes");
    return Interrupt(id, 2 * kMinuteMs);
  }
  if (falls_in(rates.interrupted_at_once)) {
    if (spot) Count("interruptions with seconds");
    return Interrupt(id, 1000 * static_cast<int64_t>(1 + world_random_.Below(9)));
  }
  if (falls_in(rates.interrupted_silently)) {
    if (spot) Count("interruptions without notice");
    return Interrupt(id, 0);
  }
  if (falls_in(rates.rebalance)) {
    if (!spot) return;
    Count("rebalance recommendations");
    return RecommendRebalance(id);
  }
  if (falls_in(rates.hardware)) {
    Count("hardware failures");
    // Half of them for a moment only.
    const int64_t lasts = world_random_.Below(2) == 0 ? kMinuteMs : 12 * kHourMs;
    At(Now() + lasts, EventKind::kHeals, id);
    return Impair(id, true);
  }
  if (falls_in(rates.stopped)) {
    Count("instances stopped by hand");
    At(Now() + kHourMs, EventKind::kStarts, id);
    return StopInstance(id);
  }
  if (falls_in(rates.terminated)) {
    Count("instances terminated by hand");
    return TakeAway(id, "Client.UserInitiatedShutdown",
                    "Client.UserInitiatedShutdown: User initiated shutdown");
  }
  SimInstance* const instance = instances_.Find(id);
  if (instance->shown.state != "running" || instance->shown.devices.size() > 3) return;
  Count("volumes attached by hand");
  const std::string device =
      fmt::format("/dev/sd{}", static_cast<char>('m' + world_random_.Below(8)));
  AttachByHand(id, device, {.size_gib = 1});
}

std::string SimulatedCloud::AttachByHand(const std::string& id, const std::string& device,
                                         const Ec2Volume& like) {
  SimInstance* const instance = instances_.Find(id);
  SimVolume volume = MakeVolume(instance->shown.availability_zone,
                                {.snapshot_id = like.snapshot_id,
                                 .volume_type = like.volume_type,
                                 .volume_size_gib = like.size_gib,
                                 .iops = like.iops,
                                 .throughput = like.throughput},
                                like.tags);
  const bool taken = std::any_of(instance->shown.devices.begin(), instance->shown.devices.end(),
                                 [&](const auto& one) { return one.device_name == device; });
  if (taken) return "";
  std::string volume_id = volume.shown.id;
  Note(NodeOf(id), fmt::format("{} is attached to {} by hand", volume_id, id));
  ++changes_;
  volume.shown.state = "in-use";
  volume.shown.attachments.push_back({id, device, "attached", false});
  instance->shown.devices.push_back({device, volume_id, "attached", 0, false});
  BeginWriting(*instance, device, &volumes_.Add(std::move(volume)));
  return volume_id;
}

}  // namespace snapstore::spot
