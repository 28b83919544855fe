#include <fmt/format.h>

#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/running_agent.h"
#include "tools/snapstore_agent/text.h"

namespace snapstore::agent {
namespace {

class StatusCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override { agent_.AddOptions(app); }

  Outcome Run(const GlobalOptions& globals) override {
    const auto status = agent_.Get("/status");
    if (!status.ok()) return Outcome::Of(status.status());
    if (globals.json) {
      fmt::print("{}\n", status->dump());
      return Outcome::Done();
    }
    fmt::print("application      {} ({})\n", TextOf(*status, "app"), TextOf(*status, "state"));
    fmt::print("command          {}\n", TextOf(*status, "run_cmd"));
    fmt::print("repository       {}\n", TextOf(*status, "repository"));
    fmt::print("started          {}: {}\n", TextOf(*status, "started"),
               TextOf(*status, "start_reason"));
    fmt::print("checkpoints      {} taken, {} failed, {} skipped\n",
               NumberOf(*status, "checkpoints_taken"), NumberOf(*status, "checkpoints_failed"),
               NumberOf(*status, "checkpoints_skipped"));
    fmt::print("next checkpoint  {}\n", TextOf(*status, "next_checkpoint"));
    if (const auto last = status->find("last_checkpoint");
        last != status->end() && last->is_object()) {
      fmt::print("last checkpoint  {}\n", RecordText(*last));
    }
    if (const auto files = status->find("unlisted_files");
        files != status->end() && files->is_array()) {
      for (const auto& path : *files) {
        fmt::print("unlisted file    {}\n", path.is_string() ? path.get<std::string>() : "");
      }
    }
    if (const std::string ended = TextOf(*status, "ended"); !ended.empty()) {
      fmt::print("ended            {}\n", ended);
    }
    return Outcome::Done();
  }

 private:
  RunningAgent agent_;
};

}  // namespace

const CommandInfo kStatusCommand{"status", "Show what the running agent is doing.",
                                 R"(  snapstore-agent status
  snapstore-agent status --state-dir /var/lib/snapstore-agent/BI --json)",
                                 [] { return std::unique_ptr<Command>(new StatusCommand()); }};

}  // namespace snapstore::agent
