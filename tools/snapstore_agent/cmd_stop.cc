#include <fmt/format.h>

#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/running_agent.h"
#include "tools/snapstore_agent/text.h"

namespace snapstore::agent {
namespace {

class StopCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    agent_.AddOptions(app);
    app->add_flag("--no-checkpoint", no_checkpoint_, "End the application without a checkpoint");
  }

  Outcome Run(const GlobalOptions& globals) override {
    const auto status = agent_.Post(
        "/stop", no_checkpoint_ ? R"({"checkpoint": false})" : R"({"checkpoint": true})");
    if (!status.ok()) return Outcome::Of(status.status());
    if (globals.json) {
      fmt::print("{}\n", status->dump());
      return Outcome::Done();
    }
    const auto last = status->find("last_checkpoint");
    if (no_checkpoint_ || last == status->end() || !last->is_object()) {
      fmt::print("stopped\n");
    } else {
      fmt::print("stopped after checkpoint {}\n", RecordText(*last));
    }
    return Outcome::Done();
  }

 private:
  RunningAgent agent_;
  bool no_checkpoint_ = false;
};

}  // namespace

const CommandInfo kStopCommand{"stop",
                               "Take a final checkpoint, then end the application and the agent.",
                               R"(  snapstore-agent stop
  snapstore-agent stop --no-checkpoint --state-dir /var/lib/snapstore-agent/BI

If the final checkpoint fails, the application runs on and the reason is shown.)",
                               [] { return std::unique_ptr<Command>(new StopCommand()); }};

}  // namespace snapstore::agent
