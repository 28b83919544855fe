// snapstore: snapshots of files, trees, volumes and streams in a deduplicating repository.
//
// This file reads the command line, runs one command and turns what came of it into an exit code.
// Each command is in cmd_<name>.cc.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/near_names.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/help.h"
#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr const CommandInfo* kCommands[] = {
    &kInitCommand, &kSnapshotCommand, &kListCommand,  &kShowCommand,    &kLsCommand,
    &kDiffCommand, &kRestoreCommand,  &kDumpCommand,  &kMountCommand,   &kCheckCommand,
    &kCopyCommand, &kForgetCommand,   &kPruneCommand, &kStatsCommand,   &kRepairCommand,
    &kKeyCommand,  &kDoctorCommand,   &kBenchCommand, &kVersionCommand,
};
constexpr size_t kHelpColumns = 80;

// CLI11 reads some values as syntax of its own ("[a,b]" is a list, "{}" an empty one, and after
// "--" options of the parent are looked for again), but a path may have any name. Such arguments
// carry this mark through the parser; every option takes it off.
constexpr char kMark = '\x01';

std::vector<std::string> MarkArguments(int argc, char** argv) {
  std::vector<std::string> out;
  bool only_positionals = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!only_positionals && argument == "--") {
      only_positionals = true;
      continue;
    }
    const bool mark = only_positionals || argument.starts_with('[') || argument == "{}" ||
                      argument == "++" || argument.starts_with(kMark);
    out.push_back(mark ? kMark + std::string(argument) : std::string(argument));
  }
  return out;
}

std::string Unmarked(std::string text) {
  if (text.starts_with(kMark)) text.erase(0, 1);
  return text;
}

void UnmarkValues(CLI::App* app) {
  for (CLI::Option* option : app->get_options()) {
    if (option->get_items_expected_max() > 0) option->transform(Unmarked, "", "");
  }
}

// The command line as CLI11 sees it.
struct Program {
  CLI::App root{"Snapshots of files, trees, volumes and streams in a deduplicating repository."};
  GlobalOptions globals;
  bool version = false;
  std::vector<std::unique_ptr<Command>> commands;  // as kCommands
  std::vector<CLI::App*> apps;                     // as kCommands
  CLI::App* help = nullptr;
  std::string help_topic;
};

void AddGlobalOptions(Program* program) {
  CLI::App& root = program->root;
  GlobalOptions& globals = program->globals;
  root.add_option("-r,--repo", globals.repository,
                  "Repository: /path, file:///path, efs://fs-ID/path, s3://bucket/path")
      ->envname("SNAPSTORE_REPOSITORY");
  root.add_option("-o,--store-setting", globals.store_settings,
                  "KEY=VALUE for the store, as s3.storage-class=STANDARD_IA; may be repeated")
      ->allow_extra_args(false);
  root.add_option("--cache-dir", globals.cache_dir,
                  "Where the chunk index is kept; else SNAPSTORE_CACHE_DIR, else the XDG cache");
  auto* key_file = root.add_option("--key-file", globals.key_file,
                                   "Key file of an encrypted repository; else SNAPSTORE_KEY_FILE");
  root.add_option(
          "--password-file", globals.password_file,
          "File with its password; else SNAPSTORE_PASSWORD_FILE or SNAPSTORE_PASSWORD, else "
          "it is asked for")
      ->excludes(key_file);
  root.add_option("--memory-limit", globals.memory_limit,
                  "Bytes for buffers, compression and index together")
      ->capture_default_str();
  root.add_option("--io", globals.io, "How files are read and written: auto, uring or threads")
      ->check(CLI::IsMember({"auto", "uring", "threads"}))
      ->capture_default_str();
  root.add_option("--threads", globals.threads, "Workers; 0 means one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  root.add_flag("--json", globals.json, "One JSON document a line; errors too, on standard error");
  auto* quiet = root.add_flag("-q,--quiet", globals.quiet, "Only the result, no progress");
  root.add_flag("-v,--verbose", globals.verbose, "More detail")->excludes(quiet);
  root.add_flag("--version", program->version, "Print the version and exit");
}

void BuildProgram(Program* program) {
  CLI::App& root = program->root;
  root.name("snapstore");
  root.formatter(std::make_shared<HelpFormatter>());
  root.footer(
      "\n'snapstore help COMMAND' explains a command. Options above go before or after it.\n"
      "SNAPSTORE_LOG=debug in the environment shows each request to a server.");
  root.set_help_flag("-h,--help", "Show this help and exit");
  // Words that fit nothing are reported by CheckLeftovers, which knows what the user may have
  // meant.
  root.allow_extras();
  root.require_subcommand(0, 1);
  AddGlobalOptions(program);
  for (const CommandInfo* info : kCommands) {
    CLI::App* app =
        root.add_subcommand(info->name, WrapText(info->description, kHelpColumns) + "\n");
    app->fallthrough();
    app->footer(
        fmt::format("\nExamples:\n{}\n\n'snapstore help' lists the options that every "
                    "command takes.",
                    info->examples));
    program->commands.push_back(info->make());
    program->commands.back()->AddOptions(app);
    UnmarkValues(app);
    program->apps.push_back(app);
  }
  program->help = root.add_subcommand("help", "Explain a command.");
  program->help->fallthrough();
  program->help->add_option("COMMAND", program->help_topic, "The command to explain");
  UnmarkValues(&root);
  UnmarkValues(program->help);
}

// Index into kCommands of the command given, or -1.
int ChosenCommand(const Program& program) {
  for (size_t i = 0; i < program.apps.size(); ++i) {
    if (program.apps[i]->parsed()) return static_cast<int>(i);
  }
  return -1;
}

Status UnknownCommand(const std::string& name) {
  std::vector<std::string> known = {"help"};
  for (const CommandInfo* info : kCommands) known.emplace_back(info->name);
  return Status::InvalidArgument(
      fmt::format("unknown command '{}'{}", name, DidYouMean(name, known)));
}

Status CheckLeftovers(const Program& program) {
  const bool has_command = ChosenCommand(program) >= 0 || program.help->parsed();
  for (const std::string& word : program.root.remaining()) {
    if (word.starts_with('-') && word.size() > 1) {
      return Status::InvalidArgument(fmt::format("unknown option '{}'", word));
    }
    if (!has_command) return UnknownCommand(Unmarked(word));
    return Status::InvalidArgument(fmt::format("unexpected argument '{}'", Unmarked(word)));
  }
  if (!has_command) return Status::InvalidArgument("no command given");
  return Status::Ok();
}

Result<std::string> HelpText(const Program& program) {
  // App::help would answer for the command parsed last, which is help itself.
  if (program.help_topic.empty()) {
    return program.root.get_formatter()->make_help(&program.root, "snapstore",
                                                   CLI::AppFormatMode::Normal);
  }
  for (size_t i = 0; i < program.apps.size(); ++i) {
    if (program.help_topic == kCommands[i]->name) return program.apps[i]->help("snapstore");
  }
  return UnknownCommand(program.help_topic);
}

void PrintError(const Status& status, int code, bool json, const char* command) {
  std::string text;
  if (json) {
    text = DumpJson(ExitErrorJson(code, status)) + "\n";
  } else {
    text = fmt::format("snapstore: {}\n", EscapeForTerminal(status.message()));
    if (code == kExitUsage) {
      text += command == nullptr ? std::string("'snapstore help' lists the commands.\n")
                                 : fmt::format("'snapstore help {}' explains it.\n", command);
    }
  }
  fwrite(text.data(), 1, text.size(), stderr);
}

// Standard output must take everything before the exit code can say that all went well.
int Finish(Printer* out, int code, bool json, const char* command) {
  const Status flushed = out->Flush();
  if (flushed.ok()) return code;
  if (!out->pipe_closed()) PrintError(flushed, kExitFailed, json, command);
  return kExitFailed;
}

int RunCommand(const Program& program, size_t index, Printer* out) {
  using Style = ConsoleObserver::ProgressStyle;
  const GlobalOptions& globals = program.globals;
  const char* name = kCommands[index]->name;
  Style style = Style::kNone;
  if (!globals.quiet) {
    style = globals.json ? Style::kJson : isatty(STDERR_FILENO) != 0 ? Style::kBar : Style::kNone;
  }
  ConsoleObserver observer(out, style, globals.json, name);
  Session session(globals, out, &observer);
  const Result<Finding> finding = program.commands[index]->Run(session);
  observer.Finish();
  if (finding.ok()) return Finish(out, ExitCodeOf(*finding), globals.json, name);
  if (out->pipe_closed()) return kExitFailed;
  const int code = ExitCodeOf(finding.status(), session.stage());
  // What was printed so far belongs before the error.
  (void)out->Flush();
  PrintError(finding.status(), code, globals.json, name);
  return code;
}

int Run(int argc, char** argv, Printer* out) {
  Program program;
  BuildProgram(&program);
  std::vector<std::string> arguments = MarkArguments(argc, argv);
  // A command line that cannot be read is answered in JSON as well.
  const bool json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
  const auto fail = [&](const Status& status) {
    const int chosen = ChosenCommand(program);
    PrintError(status, kExitUsage, json, chosen < 0 ? nullptr : kCommands[chosen]->name);
    return static_cast<int>(kExitUsage);
  };
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    program.root.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    (void)out->Raw(AsBytes(program.root.help()));
    return Finish(out, kExitDone, json, nullptr);
  } catch (const CLI::ParseError& error) {
    return fail(Status::InvalidArgument(error.what()));
  }
  if (program.version) {
    (void)out->Line("snapstore " SNAPSTORE_VERSION);
    return Finish(out, kExitDone, json, nullptr);
  }
  if (const Status status = CheckLeftovers(program); !status.ok()) return fail(status);
  if (program.help->parsed()) {
    const Result<std::string> text = HelpText(program);
    if (!text.ok()) return fail(text.status());
    (void)out->Raw(AsBytes(*text));
    return Finish(out, kExitDone, json, nullptr);
  }
  return RunCommand(program, static_cast<size_t>(ChosenCommand(program)), out);
}

Status SetLogLevelOfEnvironment() {
  const char* const name = std::getenv("SNAPSTORE_LOG");
  if (name == nullptr || *name == '\0') return Status::Ok();
  const Result<LogLevel> level = ParseLogLevel(name);
  if (!level.ok()) return level.status().WithContext("SNAPSTORE_LOG");
  SetLogLevel(*level);
  return Status::Ok();
}

// A descriptor 0, 1 or 2 that is closed would be given to the next file opened, and messages would
// be written into it.
void OccupyStandardDescriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
      // The lowest free number is taken; read-only, so that writing to it is an error.
      (void)open("/dev/null", O_RDONLY);  // NOLINT: stays open to the end
    }
  }
}

}  // namespace
}  // namespace snapstore::cli

int main(int argc, char** argv) {
  using namespace snapstore;
  cli::OccupyStandardDescriptors();
  cli::Printer out(stdout);
  try {
    if (const Status status = cli::CatchInterrupts(); !status.ok()) {
      cli::PrintError(status, cli::kExitFailed, false, nullptr);
      return cli::kExitFailed;
    }
    if (const Status status = cli::SetLogLevelOfEnvironment(); !status.ok()) {
      cli::PrintError(status, cli::kExitUsage, false, nullptr);
      return cli::kExitUsage;
    }
    return cli::Run(argc, argv, &out);
  } catch (const std::exception& error) {
    fprintf(stderr, "snapstore: internal error: %s\n", error.what());
    return cli::kExitFailed;
  }
}
