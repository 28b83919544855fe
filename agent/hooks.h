// Hooks: commands of the operator that run around a checkpoint and a restore.
//
//   pre-freeze    before the application is frozen, never in the freeze
//   post-thaw     when it runs on, before anything is stored; also when the checkpoint failed
//   pre-restore   before anything of a checkpoint is put back
//   post-restore  when the application runs, or its restore failed
//
// A command is run by /bin/sh on the node, outside the application's cell, as root, in a process
// group of its own. It gets one JSON object on standard input (docs/agent.md); standard output goes
// to the agent's messages, and of standard error the last line is kept for the message of a
// failure. When its time is over, its whole process group is killed.
//
// Thread safety: none; one call of Run at a time.
#ifndef SNAPSTORE_AGENT_HOOKS_H_
#define SNAPSTORE_AGENT_HOOKS_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

enum class HookEvent { kPreFreeze, kPostThaw, kPreRestore, kPostRestore };
inline constexpr size_t kHookEvents = 4;
inline constexpr std::array kAllHookEvents{HookEvent::kPreFreeze, HookEvent::kPostThaw,
                                           HookEvent::kPreRestore, HookEvent::kPostRestore};
// "pre-freeze", …
std::string_view HookEventName(HookEvent event);

// What a failed hook does to the checkpoint or start that it belongs to: fails it, is told of in
// the log, nothing.
enum class HookPolicy { kFail, kWarn, kIgnore };
Result<HookPolicy> ParseHookPolicy(const std::string& text);

struct HookOptions {
  std::array<std::vector<std::string>, kHookEvents> commands;  // by event; run in this order
  std::chrono::milliseconds timeout{30'000};                   // of each command
  HookPolicy policy = HookPolicy::kFail;

  std::vector<std::string>& Of(HookEvent event) { return commands[static_cast<size_t>(event)]; }
  const std::vector<std::string>& Of(HookEvent event) const {
    return commands[static_cast<size_t>(event)];
  }
};

// Adds the hooks of a file to `options`:
//   {"preFreeze": "cmd" or ["cmd", …], "postThaw": …, "preRestore": …, "postRestore": …,
//    "timeoutSeconds": 30, "policy": "fail"}
// InvalidArgument: another member, or a value that is none of these. PermissionDenied: somebody
// else than its owner, who must be root or this user, can write to the file: its commands would run
// as root.
Status LoadHooks(const std::string& path, HookOptions* options);

// What a hook is told.
struct HookContext {
  std::string app = {};
  std::string state_directory = {};
  std::string trigger = {};        // why the checkpoint is taken; empty at a restore
  std::string checkpoint_id = {};  // that is restored; of a checkpoint: the one before; empty: none
  uint64_t attempt = 0;    // counts checkpoints since the agent's start, from 1; 0: a restore
  int pid = 0;             // of the cell's init on the node; 0: nothing runs yet
  int64_t time_ns = 0;     // when the checkpoint or the restore began
  bool final = false;      // the application does not run on after this checkpoint
  double frozen_ms = -1;   // after a thaw; -1: not known
  std::string error = {};  // of the checkpoint or restore; empty: it went well so far
};

// One line of JSON, as the hook reads it.
std::string HookContextJson(HookEvent event, const HookContext& context);

class Hooks {
 public:
  explicit Hooks(HookOptions options) : options_(std::move(options)) {}

  // Runs the commands for `event` one after the other. With the policy `fail`, the first that fails
  // is the result, and those after it are not run: "hook pre-freeze 'cmd': exit code 3: last line".
  // Otherwise OK. `cut_short` is polled, every 0.1 s: once it is true the command is killed, none
  // is run any more, and the result is Cancelled, whatever the policy. Null: never.
  Status Run(HookEvent event, const HookContext& context,
             const std::function<bool()>& cut_short = nullptr) const;

 private:
  const HookOptions options_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_HOOKS_H_
