// snapstore-localcloud: an EC2-compatible cloud on this machine.
#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "orchestrator/localcloud/machine/instance_init.h"
#include "tools/snapstore_localcloud/command.h"

namespace snapstore::localcloud {
namespace {

constexpr std::array kCommands{&kServeCommand, &kEnvCommand, &kAdminCommand, &kDestroyCommand};

int Report(const Outcome& outcome, bool json) {
  if (outcome.status.ok()) return outcome.exit_code;
  if (json) {
    const nlohmann::ordered_json document = {{"message_type", "exit_error"},
                                             {"code", outcome.exit_code},
                                             {"status", StatusCodeName(outcome.status.code())},
                                             {"message", outcome.status.message()}};
    fmt::print(stderr, "{}\n",
               document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print(stderr, "snapstore-localcloud: {}\n", outcome.status.message());
  }
  return outcome.exit_code;
}

int Main(int argc, char** argv) {
  CLI::App root{
      "An EC2-compatible cloud on this machine: instances are namespaces, volumes are files, and "
      "spot\ncapacity, prices and interruptions are yours to drive."};
  GlobalOptions globals;
  bool version = false;
  root.name("snapstore-localcloud");
  root.set_help_flag("-h,--help", "Show this help and exit");
  root.require_subcommand(0, 1);
  root.add_flag("--json", globals.json, "One JSON document a line; errors too, on standard error");
  root.add_flag("-q,--quiet", globals.quiet, "Only warnings, errors and the result");
  root.add_flag("--version", version, "Print the version and exit");
  root.footer("\n'snapstore-localcloud COMMAND --help' explains a command, with examples.");
  std::vector<std::unique_ptr<Command>> commands;
  std::vector<CLI::App*> apps;
  for (const CommandInfo* info : kCommands) {
    CLI::App* app = root.add_subcommand(info->name, info->description);
    app->fallthrough();
    app->footer(fmt::format("\nExamples:\n{}", info->examples));
    commands.push_back(info->make());
    commands.back()->AddOptions(app);
    apps.push_back(app);
  }
  try {
    root.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return root.exit(error);  // help was asked for
    return Report({Status::InvalidArgument(error.what()), kExitUsage}, globals.json);
  }
  if (version) {
    fmt::print("snapstore-localcloud {}\n", SNAPSTORE_VERSION);
    return kExitDone;
  }
  for (size_t i = 0; i < apps.size(); ++i) {
    if (apps[i]->parsed()) return Report(commands[i]->Run(globals), globals.json);
  }
  return Report(
      {Status::InvalidArgument("no command given; 'snapstore-localcloud --help' lists them"),
       kExitUsage},
      globals.json);
}

}  // namespace
}  // namespace snapstore::localcloud

// What Main lets through is out of memory, which ends the program either way.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  // The server's own errand: the first process of an instance.
  if (argc == 3 && std::string_view(argv[1]) == "instance-init") {
    return snapstore::localcloud::RunInstanceInit(argv[2]);
  }
  signal(SIGPIPE, SIG_IGN);
  return snapstore::localcloud::Main(argc, argv);
}
