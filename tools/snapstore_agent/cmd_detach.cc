#include <fmt/format.h>

#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/running_agent.h"

namespace snapstore::agent {
namespace {

class DetachCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override { agent_.AddOptions(app); }

  Outcome Run(const GlobalOptions& globals) override {
    const auto status = agent_.Post("/detach", "");
    if (!status.ok()) return Outcome::Of(status.status());
    fmt::print("{}\n", globals.json ? status->dump() : "detached, the application runs on");
    return Outcome::Done();
  }

 private:
  RunningAgent agent_;
};

}  // namespace

const CommandInfo kDetachCommand{"detach", "End the agent alone; the application runs on.",
                                 R"(  snapstore-agent detach
  snapstore-agent detach --state-dir /var/lib/snapstore-agent/BI

Nothing is checkpointed until the next 'snapstore-agent run' with the same state directory, which
takes the application over as it is: for an upgrade of the agent, or another configuration.)",
                                 [] { return std::unique_ptr<Command>(new DetachCommand()); }};

}  // namespace snapstore::agent
