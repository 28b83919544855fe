// What of this machine matters to a process that is to be resumed on another.
#ifndef SNAPSTORE_AGENT_PLATFORM_H_
#define SNAPSTORE_AGENT_PLATFORM_H_

#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

struct Platform {
  std::string kernel;        // uname -r
  std::string architecture;  // uname -m
  std::string cpu_model;
  // Instruction set extensions a program may have decided to use, sorted.
  std::vector<std::string> cpu_features;

  static Platform OfThisMachine();
  // `cpuinfo`: the text of /proc/cpuinfo.
  static Platform FromCpuInfo(std::string_view cpuinfo);
};

// Unsupported, naming what is missing, when a process of `origin` may not run on `here`.
Status CheckCanResume(const Platform& origin, const Platform& here);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PLATFORM_H_
