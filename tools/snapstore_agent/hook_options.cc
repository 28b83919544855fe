#include "tools/snapstore_agent/hook_options.h"

#include <fmt/format.h>

#include "base/status_macros.h"

namespace snapstore::agent {

void HookFlags::AddOptions(CLI::App* app) {
  constexpr std::array kWhen{"before the application is frozen",
                             "when it runs on after a checkpoint, taken or not",
                             "before a checkpoint is restored", "after that, restored or not"};
  for (const HookEvent event : kAllHookEvents) {
    app->add_option(
           fmt::format("--hook-{}", HookEventName(event)), given_.Of(event),
           fmt::format("Command to run {}; may be given again", kWhen[static_cast<size_t>(event)]))
        ->allow_extra_args(false)
        ->type_name("CMD");
  }
  app->add_option("--hooks", file_, "More hooks: a JSON file, see the manual")->type_name("FILE");
  timeout_option_ = app->add_option("--hook-timeout", timeout_seconds_,
                                    "A hook that takes longer is killed, with all it started")
                        ->type_name("SECONDS")
                        ->check(CLI::Range(0.1, 3600.0))
                        ->capture_default_str();
  app->add_option("--hook-policy", policy_,
                  "What a hook that fails does to its checkpoint or start: fail (default), warn, "
                  "ignore")
      ->type_name("POLICY");
}

Result<HookOptions> HookFlags::Read() const {
  HookOptions options;
  if (!file_.empty()) SNAP_RETURN_IF_ERROR(LoadHooks(file_, &options));
  for (const HookEvent event : kAllHookEvents) {
    const auto& more = given_.Of(event);
    options.Of(event).insert(options.Of(event).end(), more.begin(), more.end());
  }
  if (timeout_option_->count() != 0) {
    options.timeout = std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds_ * 1000));
  }
  if (!policy_.empty()) {
    SNAP_ASSIGN_OR_RETURN(options.policy, ParseHookPolicy(policy_));
  }
  return options;
}

}  // namespace snapstore::agent
