#include "orchestrator/lifecycle/cpu_families.h"

#include <algorithm>
#include <array>
#include <span>

namespace snapstore::spot {
namespace {

// Levels of x86 processors, each with all that those before it have. Types of one family may run on
// several processors: the oldest counts.
enum class Level { kIvyBridge, kHaswell, kZen, kZen3, kSkylake, kIceLake, kZen4, kSapphireRapids };

struct Family {
  std::string_view name;  // what stands before the dot
  Level level;
};
constexpr std::array<Family, 44> kFamilies = {{
    {"m3", Level::kIvyBridge},
    {"c3", Level::kIvyBridge},
    {"r3", Level::kIvyBridge},
    {"t2", Level::kIvyBridge},
    {"m4", Level::kHaswell},
    {"c4", Level::kHaswell},
    {"r4", Level::kHaswell},
    {"x1", Level::kHaswell},
    {"i3", Level::kHaswell},
    {"m5a", Level::kZen},
    {"r5a", Level::kZen},
    {"t3a", Level::kZen},
    {"m5ad", Level::kZen},
    {"r5ad", Level::kZen},
    {"c5a", Level::kZen},
    {"c5ad", Level::kZen},
    {"m6a", Level::kZen3},
    {"c6a", Level::kZen3},
    {"r6a", Level::kZen3},
    {"m5", Level::kSkylake},
    {"m5d", Level::kSkylake},
    {"m5n", Level::kSkylake},
    {"c5", Level::kSkylake},
    {"c5d", Level::kSkylake},
    {"c5n", Level::kSkylake},
    {"r5", Level::kSkylake},
    {"r5d", Level::kSkylake},
    {"r5n", Level::kSkylake},
    {"t3", Level::kSkylake},
    {"z1d", Level::kSkylake},
    {"i3en", Level::kSkylake},
    {"m6i", Level::kIceLake},
    {"m6id", Level::kIceLake},
    {"c6i", Level::kIceLake},
    {"c6id", Level::kIceLake},
    {"r6i", Level::kIceLake},
    {"r6id", Level::kIceLake},
    {"i4i", Level::kIceLake},
    {"m7a", Level::kZen4},
    {"c7a", Level::kZen4},
    {"r7a", Level::kZen4},
    {"m7i", Level::kSapphireRapids},
    {"c7i", Level::kSapphireRapids},
    {"r7i", Level::kSapphireRapids},
}};

struct Feature {
  std::string_view name;
  std::span<const Level> levels;  // that have it
};
constexpr std::array kFromHaswell = {Level::kHaswell,       Level::kZen,     Level::kZen3,
                                     Level::kSkylake,       Level::kIceLake, Level::kZen4,
                                     Level::kSapphireRapids};
constexpr std::array kWithAvx512 = {Level::kSkylake, Level::kIceLake, Level::kZen4,
                                    Level::kSapphireRapids};
constexpr std::array kWithAvx512Later = {Level::kIceLake, Level::kZen4, Level::kSapphireRapids};
constexpr std::array kWithVaes = {Level::kZen3, Level::kIceLake, Level::kZen4,
                                  Level::kSapphireRapids};
constexpr std::array kWithSha = {Level::kZen, Level::kZen3, Level::kIceLake, Level::kZen4,
                                 Level::kSapphireRapids};
constexpr std::array kWithAmx = {Level::kSapphireRapids};
constexpr std::array<Feature, 23> kFeatures = {{
    {"avx2", kFromHaswell},
    {"bmi1", kFromHaswell},
    {"bmi2", kFromHaswell},
    {"fma", kFromHaswell},
    {"movbe", kFromHaswell},
    {"avx512f", kWithAvx512},
    {"avx512dq", kWithAvx512},
    {"avx512cd", kWithAvx512},
    {"avx512bw", kWithAvx512},
    {"avx512vl", kWithAvx512},
    {"avx512ifma", kWithAvx512Later},
    {"avx512vbmi", kWithAvx512Later},
    {"avx512_vbmi2", kWithAvx512Later},
    {"avx512_vnni", kWithAvx512Later},
    {"avx512_bitalg", kWithAvx512Later},
    {"avx512_vpopcntdq", kWithAvx512Later},
    {"gfni", kWithAvx512Later},
    {"vaes", kWithVaes},
    {"vpclmulqdq", kWithVaes},
    {"sha_ni", kWithSha},
    {"amx_tile", kWithAmx},
    {"amx_int8", kWithAmx},
    {"amx_bf16", kWithAmx},
}};

}  // namespace

CpuFit FitOfType(std::string_view instance_type, const std::vector<std::string>& features) {
  if (features.empty()) return CpuFit::kFits;
  const std::string_view name = instance_type.substr(0, instance_type.find('.'));
  const auto* family = std::find_if(kFamilies.begin(), kFamilies.end(),
                                    [&](const Family& known) { return known.name == name; });
  if (family == kFamilies.end()) return CpuFit::kUnknown;
  for (const Feature& feature : kFeatures) {
    if (std::find(features.begin(), features.end(), feature.name) == features.end()) continue;
    if (std::find(feature.levels.begin(), feature.levels.end(), family->level) ==
        feature.levels.end()) {
      return CpuFit::kLacks;
    }
  }
  return CpuFit::kFits;
}

}  // namespace snapstore::spot
