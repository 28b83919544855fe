#include "orchestrator/lifecycle/cpu_families.h"

#include <gtest/gtest.h>

namespace snapstore::spot {
namespace {

TEST(CpuFamilies, SayWhatATypeLacks) {
  EXPECT_EQ(FitOfType("m5.large", {"avx2", "avx512f"}), CpuFit::kFits);
  EXPECT_EQ(FitOfType("m4.large", {"avx2"}), CpuFit::kFits);
  EXPECT_EQ(FitOfType("m4.large", {"avx2", "avx512f"}), CpuFit::kLacks);
  EXPECT_EQ(FitOfType("m3.large", {"avx2"}), CpuFit::kLacks);
  EXPECT_EQ(FitOfType("m6a.large", {"vaes"}), CpuFit::kFits);
  EXPECT_EQ(FitOfType("m5.large", {"vaes"}), CpuFit::kLacks);
  EXPECT_EQ(FitOfType("m6i.large", {"amx_tile"}), CpuFit::kLacks);
  EXPECT_EQ(FitOfType("m7i.large", {"amx_tile", "avx512_vnni"}), CpuFit::kFits);
}

TEST(CpuFamilies, FeaturesThatEveryTypeHasDoNotMatter) {
  EXPECT_EQ(FitOfType("m3.large", {"sse4_2", "popcnt"}), CpuFit::kFits);
  EXPECT_EQ(FitOfType("m3.large", {}), CpuFit::kFits);
}

TEST(CpuFamilies, AreUnknownRatherThanGuessed) {
  EXPECT_EQ(FitOfType("x9.large", {"avx2"}), CpuFit::kUnknown);
  EXPECT_EQ(FitOfType("", {"avx2"}), CpuFit::kUnknown);
}

}  // namespace
}  // namespace snapstore::spot
