#include <fmt/format.h>

#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/running_agent.h"
#include "tools/snapstore_agent/text.h"

namespace snapstore::agent {
namespace {

class CheckpointCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override { agent_.AddOptions(app); }

  Outcome Run(const GlobalOptions& globals) override {
    const auto record = agent_.Post("/checkpoint", "");
    if (!record.ok()) return Outcome::Of(record.status());
    fmt::print("{}\n", globals.json ? record->dump() : "checkpoint " + RecordText(*record));
    return Outcome::Done();
  }

 private:
  RunningAgent agent_;
};

}  // namespace

const CommandInfo kCheckpointCommand{
    "checkpoint", "Have the running agent take a checkpoint now, and wait for it.",
    R"(  snapstore-agent checkpoint
  snapstore-agent checkpoint --listen 10.0.0.7:9527 --token-file /etc/snapstore/token --json)",
    [] { return std::unique_ptr<Command>(new CheckpointCommand()); }};

}  // namespace snapstore::agent
