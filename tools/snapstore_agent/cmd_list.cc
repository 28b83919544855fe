#include <fmt/format.h>

#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/running_agent.h"
#include "tools/snapstore_agent/text.h"

namespace snapstore::agent {
namespace {

class ListCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override { agent_.AddOptions(app); }

  Outcome Run(const GlobalOptions& globals) override {
    const auto answer = agent_.Get("/checkpoints");
    if (!answer.ok()) return Outcome::Of(answer.status());
    if (globals.json) {
      fmt::print("{}\n", answer->dump());
      return Outcome::Done();
    }
    const auto checkpoints = answer->find("checkpoints");
    if (checkpoints == answer->end() || checkpoints->empty()) {
      fmt::print("no checkpoints\n");
      return Outcome::Done();
    }
    fmt::print("{:12}  {:24}  {:10}  {:>10}  {:>10}  {:>10}  {:>10}\n", "ID", "Time", "Trigger",
               "Frozen", "Read", "New", "Stored");
    for (const auto& checkpoint : *checkpoints) {
      auto size = [&](const char* member) {
        return SizeText(static_cast<uint64_t>(NumberOf(checkpoint, member)));
      };
      fmt::print("{:12}  {:24}  {:10}  {:>7.1f} ms  {:>10}  {:>10}  {:>10}\n",
                 TextOf(checkpoint, "id").substr(0, 12), TextOf(checkpoint, "time"),
                 TextOf(checkpoint, "trigger"), NumberOf(checkpoint, "frozen_ms"),
                 size("bytes_read"), size("bytes_new"), size("bytes_stored"));
    }
    return Outcome::Done();
  }

 private:
  RunningAgent agent_;
};

}  // namespace

const CommandInfo kListCommand{"list", "List the application's checkpoints, newest first.",
                               R"(  snapstore-agent list
  snapstore-agent list --state-dir /var/lib/snapstore-agent/BI --json)",
                               [] { return std::unique_ptr<Command>(new ListCommand()); }};

}  // namespace snapstore::agent
