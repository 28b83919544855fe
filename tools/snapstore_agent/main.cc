// snapstore-agent: runs an application and checkpoints it into a repository.
#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "tools/snapstore_agent/bench_heap.h"
#include "tools/snapstore_agent/command.h"

namespace snapstore::agent {
namespace {

constexpr std::array kCommands{&kRunCommand,   &kStatusCommand, &kCheckpointCommand,
                               &kListCommand,  &kStopCommand,   &kDetachCommand,
                               &kCheckCommand, &kBenchCommand,  &kNodeCommand};

struct Program {
  CLI::App root{
      "Runs an application, takes incremental checkpoints of its memory and files into a "
      "snapstore\n"
      "repository, and resumes it from the newest one."};
  GlobalOptions globals;
  bool version = false;
  std::vector<std::unique_ptr<Command>> commands;  // as kCommands
  std::vector<CLI::App*> apps;                     // as kCommands
};

void Build(Program* program) {
  CLI::App& root = program->root;
  root.name("snapstore-agent");
  root.set_help_flag("-h,--help", "Show this help and exit");
  root.require_subcommand(0, 1);
  root.add_flag("--json", program->globals.json,
                "One JSON document a line; errors too, on standard error");
  root.add_flag("-q,--quiet", program->globals.quiet, "Only warnings, errors and the result");
  root.add_flag("--version", program->version, "Print the version and exit");
  root.footer("\n'snapstore-agent COMMAND --help' explains a command, with examples.");
  for (const CommandInfo* info : kCommands) {
    CLI::App* app = root.add_subcommand(info->name, info->description);
    app->fallthrough();
    app->footer(fmt::format("\nExamples:\n{}", info->examples));
    program->commands.push_back(info->make());
    program->commands.back()->AddOptions(app);
    program->apps.push_back(app);
  }
}

int Report(const Outcome& outcome, bool json) {
  if (outcome.status.ok()) return outcome.exit_code;
  std::string text;
  if (json) {
    const nlohmann::ordered_json document = {{"message_type", "exit_error"},
                                             {"code", outcome.exit_code},
                                             {"status", StatusCodeName(outcome.status.code())},
                                             {"message", outcome.status.message()}};
    text = document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    text = "snapstore-agent: " + outcome.status.message();
  }
  fmt::print(stderr, "{}\n", text);
  return outcome.exit_code;
}

int Main(int argc, char** argv) {
  Program program;
  Build(&program);
  try {
    program.root.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.root.exit(error);  // help was asked for
    return Report(Outcome::Usage(Status::InvalidArgument(error.what())), program.globals.json);
  }
  if (program.version) {
    fmt::print("snapstore-agent {}\n", SNAPSTORE_VERSION);
    return kExitDone;
  }
  for (size_t i = 0; i < program.apps.size(); ++i) {
    if (!program.apps[i]->parsed()) continue;
    return Report(program.commands[i]->Run(program.globals), program.globals.json);
  }
  return Report(Outcome::Usage(Status::InvalidArgument(
                    "no command given; 'snapstore-agent --help' lists them")),
                program.globals.json);
}

}  // namespace

Outcome Outcome::Of(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return Done();
    case StatusCode::kConflict:
      return {status, kExitBusy};
    case StatusCode::kWrongKey:
      return {status, kExitWrongKey};
    case StatusCode::kCorruption:
      return {status, kExitDamaged};
    default:
      return {status, kExitFailed};
  }
}

}  // namespace snapstore::agent

// What Main lets through is out of memory, which ends the program either way.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  // Not a command: the application that `bench` measures.
  if (argc > 1 && std::string_view(argv[1]) == snapstore::agent::kBenchHeapCommand) {
    return snapstore::agent::RunBenchHeap(argc - 1, argv + 1);
  }
  return snapstore::agent::Main(argc, argv);
}
