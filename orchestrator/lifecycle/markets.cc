#include "orchestrator/lifecycle/markets.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "orchestrator/lifecycle/cpu_families.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kHistoryNs = 86'400LL * 1'000'000'000;
constexpr double kMibPerGib = 1024;
constexpr size_t kFilterValuesMax = 200;

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

std::string ProductOf(const NodeSpec& spec) { return spec.compute.product.value_or("Linux/UNIX"); }

// "m5" of "m5.large".
std::string FamilyOf(const std::string& type) { return type.substr(0, type.find('.')); }
// "5" of "m5.large": the first digits.
std::string GenerationOf(const std::string& type) {
  const size_t begin = type.find_first_of("0123456789");
  if (begin == std::string::npos) return {};
  return type.substr(begin, type.find_first_not_of("0123456789", begin) - begin);
}

bool InRange(double value, const ResourceRange& range) {
  return (!range.minimum || value >= static_cast<double>(*range.minimum)) &&
         (!range.maximum || value <= static_cast<double>(*range.maximum));
}

bool Meets(const Ec2InstanceType& type, const ResourceRequirements& wanted) {
  return InRange(static_cast<double>(type.vcpus), wanted.required_vcpus) &&
         InRange(static_cast<double>(type.memory_mib) / kMibPerGib, wanted.required_memory_gib) &&
         (wanted.required_gpus ? InRange(static_cast<double>(type.gpus), *wanted.required_gpus)
                               : type.gpus == 0) &&
         !Contains(wanted.excluded_instance_types, type.name) &&
         !Contains(wanted.excluded_instance_families, FamilyOf(type.name)) &&
         !Contains(wanted.excluded_instance_generations, GenerationOf(type.name));
}

struct TypeChoice {
  Ec2InstanceType facts;
  bool preferred = true;
  bool unsure = false;  // whether its CPU can resume the checkpoint
};

std::vector<std::string> PreferredOf(const InstanceTypes& types) {
  if (types.preferred_type) return {*types.preferred_type};
  return types.preferred_types;
}

Flow<std::vector<TypeChoice>> ChooseTypes(const Services& services, const NodeSpec& spec,
                                          const MarketLimits& limits) {
  const InstanceTypes& wanted = spec.compute.launch_specification.instance_types;
  // By filter: a type that the region does not have must not hide the others.
  Ec2Query query{.filters = {}};
  if (wanted.types.size() > kFilterValuesMax) {
    query.ids = wanted.types;
  } else if (!wanted.types.empty()) {
    query.filters["instance-type"] = wanted.types;
  }
  const auto known = services.ec2->DescribeInstanceTypes(query);
  if (!known.ok()) return known.failure();
  const std::vector<std::string> preferred = PreferredOf(wanted);
  std::vector<TypeChoice> chosen;
  std::string lacks;
  // A type that it was taken on has what it needs. Where the table says otherwise the cloud's types
  // are not AWS's.
  const bool table_holds = FitOfType(limits.checkpointed_on, limits.cpu_features) != CpuFit::kLacks;
  for (const Ec2InstanceType& type : *known) {
    if (wanted.resource_requirements && !Meets(type, *wanted.resource_requirements)) continue;
    if (!limits.architecture.empty() && !Contains(type.architectures, limits.architecture)) {
      lacks =
          fmt::format("{} is not of the image's architecture {}", type.name, limits.architecture);
      continue;
    }
    const CpuFit fit = type.name == limits.checkpointed_on ? CpuFit::kFits
                       : table_holds ? FitOfType(type.name, limits.cpu_features)
                                     : CpuFit::kUnknown;
    if (fit == CpuFit::kLacks) {
      lacks = fmt::format("{} lacks CPU features of the newest checkpoint", type.name);
      continue;
    }
    chosen.push_back(
        {type, preferred.empty() || Contains(preferred, type.name), fit == CpuFit::kUnknown});
  }
  if (chosen.empty()) {
    return Fail(Status::InvalidArgument(
        lacks.empty() ? "none of the instance types exists here or meets the requirements"
                      : fmt::format("no instance type can be used: {}", lacks)));
  }
  return chosen;
}

// What the price history says of one type in one zone.
struct History {
  double now = 0;
  int64_t now_ns = -1;
  double lowest = 0;
  double highest = 0;

  void Add(const Ec2SpotPrice& price) {
    if (price.time_ns > now_ns) {
      now = price.usd_per_hour;
      now_ns = price.time_ns;
    }
    lowest = lowest == 0 ? price.usd_per_hour : std::min(lowest, price.usd_per_hour);
    highest = std::max(highest, price.usd_per_hour);
  }
  // 0 to 1: how far it moved.
  double Unrest() const { return highest > 0 ? (highest - lowest) / highest : 0; }
};
using Histories = std::map<std::pair<std::string, std::string>, History>;

Flow<Histories> ReadPrices(const Services& services, const NodeSpec& spec,
                           const std::vector<TypeChoice>& types) {
  SpotPriceQuery query;
  query.instance_types.reserve(types.size());
  for (const TypeChoice& type : types) query.instance_types.push_back(type.facts.name);
  query.products = {ProductOf(spec)};
  query.start_ns = services.state->Now() * kNanosPerMs - kHistoryNs;
  const auto prices = services.ec2->DescribeSpotPriceHistory(query);
  if (!prices.ok()) return prices.failure();
  Histories histories;
  for (const Ec2SpotPrice& price : *prices) {
    histories[{price.instance_type, price.availability_zone}].Add(price);
  }
  return histories;
}

struct Ranked {
  Market market;
  // Lower is better, the first that differs decides.
  int group = 0;
  bool refused = false;
  bool unsure = false;
  double score = 0;
};

// How much a risk of 1 weighs against the price, in multiples of it.
double RiskWeight(const NodeSpec& spec) {
  double weight = 0;
  switch (spec.strategy.orientation.value()) {
    case Orientation::kCheapest:
      weight = 0;
      break;
    case Orientation::kCostOriented:
      weight = 0.5;
      break;
    case Orientation::kBalanced:
      weight = 2;
      break;
    case Orientation::kAvailabilityOriented:
      weight = 20;
      break;
  }
  // Long lives are wanted: risk counts at least as for "balanced".
  return spec.strategy.minimum_instance_lifetime_hours ? std::max(weight, 2.0) : weight;
}

// How many more instances free reservations cover, by type and zone; of any zone: "".
class Reservations {
 public:
  // Of what `product` names; instances that run use up their own zone's first.
  static Flow<Reservations> Read(const Services& services, const std::string& product) {
    Reservations all;
    const auto reserved =
        services.ec2->DescribeReservedInstances({.filters = {{"state", {"active"}}}});
    if (!reserved.ok()) return reserved.failure();
    for (const Ec2ReservedInstances& one : *reserved) {
      // "Linux/UNIX (Amazon VPC)" covers what "Linux/UNIX" does.
      const bool covers = one.product == product || one.product.starts_with(product + " (");
      if (covers) all.free_[{one.instance_type, one.availability_zone}] += Count(one.count);
    }
    if (all.free_.empty()) return all;
    const auto running = services.ec2->DescribeInstances(
        {.filters = {{"instance-state-name", {"pending", "running"}}}});
    if (!running.ok()) return running.failure();
    for (const Ec2Instance& instance : *running) {
      const bool same = instance.platform_details.empty() || instance.platform_details == product;
      if (instance.lifecycle != "spot" && same) all.Use(instance);
    }
    return all;
  }

  bool Cover(const std::string& type, const std::string& zone) const {
    return Free(type, zone) > 0 || Free(type, "") > 0;
  }

 private:
  static int64_t Count(uint64_t count) { return static_cast<int64_t>(count); }
  int64_t Free(const std::string& type, const std::string& zone) const {
    const auto found = free_.find({type, zone});
    return found == free_.end() ? 0 : found->second;
  }
  void Use(const Ec2Instance& instance) {
    const std::string& zone = instance.availability_zone;
    if (Free(instance.instance_type, zone) > 0) {
      --free_[{instance.instance_type, zone}];
    } else if (Free(instance.instance_type, "") > 0) {
      --free_[{instance.instance_type, ""}];
    }
  }

  std::map<std::pair<std::string, std::string>, int64_t> free_;
};

enum Group { kReserved, kSpotPreferred, kSpotOther, kOnDemandPreferred, kOnDemandOther };

class Ranking {
 public:
  Ranking(const Services& services, const NodeSpec& spec, Histories histories)
      : services_(services), spec_(spec), histories_(std::move(histories)) {}

  void AddSpot(const TypeChoice& type, const SubnetZone& place) {
    const auto found = histories_.find({type.facts.name, place.zone});
    if (found == histories_.end() || found->second.now <= 0) return;
    if (!Contains(type.facts.usage_classes, "spot")) return;
    Market market = MarketAt(type, place, true);
    market.price = found->second.now;
    const double usual =
        market.on_demand_price > 0 ? market.on_demand_price : found->second.highest;
    const double risk = 0.3 * std::min(1.0, market.price / std::max(usual, 1e-9)) +
                        0.3 * found->second.Unrest() +
                        services_.markets->Interruptions(market.Name(), services_.state->Now());
    Add(type, std::move(market), type.preferred ? kSpotPreferred : kSpotOther, risk);
  }
  void AddOnDemand(const TypeChoice& type, const SubnetZone& place, bool reserved) {
    Market market = MarketAt(type, place, false);
    market.price = market.on_demand_price;
    market.reserved = reserved;
    Add(type, std::move(market),
        reserved ? kReserved : (type.preferred ? kOnDemandPreferred : kOnDemandOther), 0);
  }
  std::vector<Market> Take() {
    std::stable_sort(ranked_.begin(), ranked_.end(), [](const Ranked& a, const Ranked& b) {
      return std::tie(a.group, a.unsure, a.refused, a.score, a.market.instance_type,
                      a.market.zone) <
             std::tie(b.group, b.unsure, b.refused, b.score, b.market.instance_type, b.market.zone);
    });
    std::vector<Market> markets;
    markets.reserve(ranked_.size());
    for (Ranked& one : ranked_) markets.push_back(std::move(one.market));
    return markets;
  }

 private:
  Market MarketAt(const TypeChoice& type, const SubnetZone& place, bool spot) const {
    Market market;
    market.instance_type = type.facts.name;
    market.zone = place.zone;
    market.subnet_id = place.subnet_id;
    market.spot = spot;
    market.preferred = type.preferred;
    market.burstable = type.facts.burstable;
    if (services_.on_demand_price) {
      market.on_demand_price = services_.on_demand_price(type.facts.name);
    }
    return market;
  }
  void Add(const TypeChoice& type, Market market, int group, double risk) {
    Ranked one;
    one.group = group;
    one.unsure = type.unsure;
    one.refused = services_.markets->RefusedLately(market.Name(), services_.state->Now());
    one.score = market.price * (1 + RiskWeight(spec_) * risk);
    one.market = std::move(market);
    ranked_.push_back(std::move(one));
  }

  const Services& services_;
  const NodeSpec& spec_;
  const Histories histories_;
  std::vector<Ranked> ranked_;
};

}  // namespace

std::string Market::Name() const {
  return fmt::format("{}/{}/{}", instance_type, zone, spot ? "spot" : "on-demand");
}

Flow<std::vector<Market>> ChooseMarkets(const Services& services, const NodeSpec& spec,
                                        const MarketLimits& limits) {
  SNAP_FLOW_ASSIGN(const std::vector<TypeChoice> types, ChooseTypes(services, spec, limits));
  const Strategy& strategy = spec.strategy;
  const bool spot = strategy.life_cycle.value() == LifeCycle::kSpot && !limits.on_demand_only;
  Histories histories;
  if (spot) {
    SNAP_FLOW_ASSIGN(histories, ReadPrices(services, spec, types));
  }
  Reservations reservations;
  if (strategy.utilize_reserved_instances.value() || strategy.utilize_commitments.value()) {
    SNAP_FLOW_ASSIGN(reservations, Reservations::Read(services, ProductOf(spec)));
  }
  // Where a type is offered at all.
  Ec2Query query{.filters = {}};
  if (types.size() <= kFilterValuesMax) {
    for (const TypeChoice& type : types) query.filters["instance-type"].push_back(type.facts.name);
  }
  const auto offered = services.ec2->DescribeInstanceTypeOfferings(query);
  if (!offered.ok()) return offered.failure();
  std::set<std::pair<std::string, std::string>> offers;
  for (const auto& offer : *offered) offers.insert({offer.instance_type, offer.location});

  Ranking ranking(services, spec, std::move(histories));
  for (const TypeChoice& type : types) {
    for (const SubnetZone& place : limits.subnets) {
      if (!offers.contains({type.facts.name, place.zone})) continue;
      const bool reserved = reservations.Cover(type.facts.name, place.zone);
      if (spot) ranking.AddSpot(type, place);
      if (reserved || !spot || strategy.fallback_to_on_demand.value()) {
        ranking.AddOnDemand(type, place, reserved);
      }
    }
  }
  return ranking.Take();
}

Flow<bool> MayFindBetterMarket(const Services& services, const NodeRecord& node) {
  const KeptResources& kept = node.runtime.resources;
  MarketLimits limits;
  const auto subnets = services.ec2->DescribeSubnets({.ids = node.spec.compute.subnet_ids});
  if (!subnets.ok()) return subnets.failure();
  for (const Ec2Subnet& subnet : *subnets) {
    if (!kept.interface_id.empty() && subnet.id != kept.subnet_id) continue;
    limits.subnets.push_back({subnet.id, subnet.availability_zone});
  }
  limits.checkpointed_on = kept.checkpointed_on;
  SNAP_FLOW_ASSIGN(const auto markets, ChooseMarkets(services, node.spec, limits));
  const int64_t now = services.state->Now();
  const int64_t lately = std::min(MarketMemory::kLatelyMs, services.options.revert_interval_ms);
  return std::any_of(markets.begin(), markets.end(), [&](const Market& market) {
    const bool better = (kept.fallback && (market.spot || market.reserved)) ||
                        (!kept.preferred && market.preferred && market.spot);
    return better && !services.markets->RefusedLately(market.Name(), now, lately);
  });
}

Json MarketJson(const Market& market) {
  return {{"type", market.instance_type},
          {"zone", market.zone},
          {"subnet", market.subnet_id},
          {"spot", market.spot},
          {"preferred", market.preferred},
          {"reserved", market.reserved},
          {"burstable", market.burstable},
          {"price", market.price},
          {"onDemandPrice", market.on_demand_price}};
}

Market MarketOf(const Json& json) {
  Market market;
  market.instance_type = json.value("type", "");
  market.zone = json.value("zone", "");
  market.subnet_id = json.value("subnet", "");
  market.spot = json.value("spot", true);
  market.preferred = json.value("preferred", true);
  market.reserved = json.value("reserved", false);
  market.burstable = json.value("burstable", false);
  market.price = json.value("price", 0.0);
  market.on_demand_price = json.value("onDemandPrice", 0.0);
  return market;
}

}  // namespace snapstore::spot
