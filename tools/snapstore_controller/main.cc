// snapstore-controller: the Spot API and the life of stateful nodes.
#include <fmt/format.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "tools/snapstore_controller/command.h"

namespace snapstore::spot {
namespace {

int ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return kExitDone;
    case StatusCode::kConflict:
      return kExitBusy;
    case StatusCode::kCorruption:
      return kExitDamaged;
    default:
      return kExitFailed;
  }
}

int Report(const Status& status, int exit_code, bool json) {
  if (status.ok()) return exit_code;
  if (json) {
    const nlohmann::ordered_json document = {{"message_type", "exit_error"},
                                             {"code", exit_code},
                                             {"status", StatusCodeName(status.code())},
                                             {"message", status.message()}};
    fmt::print(stderr, "{}\n",
               document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print(stderr, "snapstore-controller: {}\n", status.message());
  }
  return exit_code;
}

int Main(int argc, char** argv) {
  Program program;
  bool version = false;
  CLI::App& root = program.root;
  root.description("Serves the Spot API for stateful nodes and keeps what it is asked for.");
  root.name("snapstore-controller");
  root.set_help_flag("-h,--help", "Show this help and exit");
  root.require_subcommand(0, 1);
  root.add_flag("--json", program.globals.json,
                "One JSON document a line; errors too, on standard error");
  root.add_flag("--version", version, "Print the version and exit");
  root.footer("\n'snapstore-controller COMMAND --help' explains a command, with examples.");
  AddServeCommand(&program);
  AddTokenCommands(&program);
  AddNodeCommands(&program);
  try {
    root.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return root.exit(error);  // help was asked for
    return Report(Status::InvalidArgument(error.what()), kExitUsage, program.globals.json);
  }
  if (version) {
    fmt::print("snapstore-controller {}\n", SNAPSTORE_VERSION);
    return kExitDone;
  }
  if (!program.run) {
    return Report(
        Status::InvalidArgument("no command given; 'snapstore-controller --help' lists them"),
        kExitUsage, program.globals.json);
  }
  const Status status = program.run();
  // Whatever the command line says wrongly is found before anything is done.
  const bool usage = status.Is(StatusCode::kInvalidArgument);
  return Report(status, usage ? kExitUsage : ExitCodeOf(status), program.globals.json);
}

}  // namespace
}  // namespace snapstore::spot

// What Main lets through is out of memory, which ends the program either way.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  return snapstore::spot::Main(argc, argv);
}
