// The options of `run` that have to do with hooks.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_HOOK_OPTIONS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_HOOK_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "agent/hooks.h"

namespace snapstore::agent {

class HookFlags {
 public:
  // --hooks, --hook-pre-freeze and its like, --hook-timeout, --hook-policy.
  void AddOptions(CLI::App* app);
  // The file's hooks, then the options'; time limit and policy of the options win.
  Result<HookOptions> Read() const;

 private:
  std::string file_;
  HookOptions given_;
  CLI::Option* timeout_option_ = nullptr;
  double timeout_seconds_ = 30;
  std::string policy_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_HOOK_OPTIONS_H_
