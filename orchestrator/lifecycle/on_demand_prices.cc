#include "orchestrator/lifecycle/on_demand_prices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "base/file.h"
#include "base/status_macros.h"
#include "orchestrator/model/json.h"

namespace snapstore::spot {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

struct PricedFamily {
  std::string_view name;
  double large;  // of its size "large"
};
constexpr std::array<PricedFamily, 50> kPricedFamilies = {{
    {"c3", 0.105},    {"c4", 0.1},      {"c5", 0.085},    {"c5a", 0.077},    {"c5ad", 0.086},
    {"c5d", 0.096},   {"c5n", 0.108},   {"c6a", 0.0765},  {"c6g", 0.068},    {"c6i", 0.085},
    {"c6id", 0.1008}, {"c7a", 0.10264}, {"c7g", 0.0725},  {"c7i", 0.08925},  {"i3", 0.156},
    {"i3en", 0.226},  {"i4i", 0.172},   {"m1", 0.175},    {"m3", 0.133},     {"m4", 0.1},
    {"m5", 0.096},    {"m5a", 0.086},   {"m5ad", 0.103},  {"m5d", 0.113},    {"m5n", 0.119},
    {"m6a", 0.0864},  {"m6g", 0.077},   {"m6i", 0.096},   {"m6id", 0.11865}, {"m7a", 0.11592},
    {"m7g", 0.0816},  {"m7i", 0.1008},  {"r3", 0.166},    {"r4", 0.133},     {"r5", 0.126},
    {"r5a", 0.113},   {"r5ad", 0.131},  {"r5d", 0.144},   {"r5n", 0.149},    {"r6a", 0.1134},
    {"r6g", 0.1008},  {"r6i", 0.126},   {"r6id", 0.1512}, {"r7a", 0.15215},  {"r7i", 0.1323},
    {"t2", 0.0928},   {"t3", 0.0832},   {"t3a", 0.0752},  {"t4g", 0.0672},   {"z1d", 0.186},
}};

// In multiples of "large"; 0: not a size whose price follows from it.
double SizeOf(std::string_view size) {
  constexpr std::array<std::pair<std::string_view, double>, 6> kNamed = {{{"nano", 1.0 / 16},
                                                                          {"micro", 1.0 / 8},
                                                                          {"small", 1.0 / 4},
                                                                          {"medium", 1.0 / 2},
                                                                          {"large", 1},
                                                                          {"xlarge", 2}}};
  for (const auto& [name, factor] : kNamed) {
    if (size == name) return factor;
  }
  int times = 0;
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), times);
  const std::string_view rest(end, static_cast<size_t>(size.data() + size.size() - end));
  return error == std::errc() && rest == "xlarge" ? 2.0 * times : 0;
}

}  // namespace

Result<OnDemandPrices> OnDemandPrices::Load(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes text, ReadWholeFile(path, kFileBytesMax));
  const auto document = ParseJson(AsText(text));
  if (!document.ok()) return document.status().WithContext(path);
  OnDemandPrices prices;
  if (!document->is_object()) {
    return Status::InvalidArgument(path + ": must be an object of prices by instance type");
  }
  for (const auto& [type, price] : document->items()) {
    if (!price.is_number() || price.get<double>() < 0) {
      return Status::InvalidArgument(
          fmt::format("{}: {}: must be a price in US dollars an hour", path, type));
    }
    prices.own_[type] = price.get<double>();
  }
  return prices;
}

double OnDemandPrices::Of(const std::string& instance_type) const {
  if (const auto own = own_.find(instance_type); own != own_.end()) return own->second;
  const size_t dot = instance_type.find('.');
  if (dot == std::string::npos) return 0;
  const std::string_view name = std::string_view(instance_type).substr(0, dot);
  const auto* family = std::find_if(kPricedFamilies.begin(), kPricedFamilies.end(),
                                    [&](const PricedFamily& known) { return known.name == name; });
  if (family == kPricedFamilies.end()) return 0;
  return family->large * SizeOf(std::string_view(instance_type).substr(dot + 1));
}

}  // namespace snapstore::spot
