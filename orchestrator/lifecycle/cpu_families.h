// Which CPU features the instance types of a family have for certain, in the names that Linux's
// /proc/cpuinfo uses. Only those are listed that a checkpoint may need and that differ between
// families. Source: "Amazon EC2 instance types" (processors), Intel's and AMD's product pages.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CPU_FAMILIES_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CPU_FAMILIES_H_

#include <string>
#include <string_view>
#include <vector>

namespace snapstore::spot {

enum class CpuFit {
  kFits,
  kUnknown,  // a family that is not listed: try it after all others
  kLacks,
};

// Whether an instance of this type can resume what needs `features`.
CpuFit FitOfType(std::string_view instance_type, const std::vector<std::string>& features);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CPU_FAMILIES_H_
