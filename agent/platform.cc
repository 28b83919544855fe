#include "agent/platform.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "base/bytes.h"
#include "base/file.h"

namespace snapstore::agent {
namespace {

constexpr size_t kCpuInfoBytesMax = 64 << 20;

// Of the many flags of /proc/cpuinfo those that a program in user mode can come to depend on; the
// others tell of the kernel, of mitigations or of virtualisation.
constexpr std::array<std::string_view, 22> kFeaturePrefixes{
    "sse",  "ssse3", "avx",   "amx_",     "aes",    "vaes",   "pclmulqdq", "vpclmulqdq",
    "bmi",  "fma",   "f16c",  "movbe",    "popcnt", "rdrand", "rdseed",    "sha_ni",
    "gfni", "adx",   "xsave", "fsgsbase", "abm",    "pku"};

bool IsFeature(std::string_view flag) {
  return std::any_of(kFeaturePrefixes.begin(), kFeaturePrefixes.end(),
                     [&](std::string_view prefix) { return flag.starts_with(prefix); });
}

// The value of the first line "key : value".
std::string_view ValueOf(std::string_view cpuinfo, std::string_view key) {
  while (!cpuinfo.empty()) {
    const size_t newline = std::min(cpuinfo.find('\n'), cpuinfo.size());
    const std::string_view line = cpuinfo.substr(0, newline);
    cpuinfo.remove_prefix(std::min(newline + 1, cpuinfo.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !line.starts_with(key)) continue;
    if (line.substr(key.size(), colon - key.size()).find_first_not_of(" \t") != line.npos) continue;
    const size_t begin = std::min(line.find_first_not_of(" \t", colon + 1), line.size());
    return line.substr(begin);
  }
  return {};
}

}  // namespace

Platform Platform::FromCpuInfo(std::string_view cpuinfo) {
  Platform platform;
  platform.cpu_model = std::string(ValueOf(cpuinfo, "model name"));
  std::string_view flags = ValueOf(cpuinfo, "flags");
  while (!flags.empty()) {
    const size_t blank = std::min(flags.find(' '), flags.size());
    if (IsFeature(flags.substr(0, blank)))
      platform.cpu_features.emplace_back(flags.substr(0, blank));
    flags.remove_prefix(std::min(blank + 1, flags.size()));
  }
  std::sort(platform.cpu_features.begin(), platform.cpu_features.end());
  return platform;
}

Platform Platform::OfThisMachine() {
  Platform platform;
  if (const auto cpuinfo = ReadWholeFile("/proc/cpuinfo", kCpuInfoBytesMax); cpuinfo.ok()) {
    platform = FromCpuInfo(AsText(*cpuinfo));
  }
  utsname names{};
  if (uname(&names) == 0) {
    platform.kernel = names.release;
    platform.architecture = names.machine;
  }
  return platform;
}

Status CheckCanResume(const Platform& origin, const Platform& here) {
  if (origin.architecture != here.architecture) {
    return Status::Unsupported(fmt::format("the checkpoint is of a {} machine, this is {}",
                                           origin.architecture, here.architecture));
  }
  std::vector<std::string> missing;
  std::set_difference(origin.cpu_features.begin(), origin.cpu_features.end(),
                      here.cpu_features.begin(), here.cpu_features.end(),
                      std::back_inserter(missing));
  if (missing.empty()) return Status::Ok();
  return Status::Unsupported(fmt::format("the checkpoint is of a {}; this CPU ({}) lacks {}",
                                         origin.cpu_model, here.cpu_model,
                                         fmt::join(missing, ", ")));
}

}  // namespace snapstore::agent
