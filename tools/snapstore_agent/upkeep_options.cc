#include "tools/snapstore_agent/upkeep_options.h"

#include <filesystem>

#include "base/status_macros.h"

namespace snapstore::agent {

void UpkeepFlags::AddOptions(CLI::App* app) {
  app->add_option("--log-file", log.own_log,
                  "The agent's messages go there, else to standard error; opened anew at SIGHUP")
      ->type_name("FILE");
  app->add_option("--log-max-size", log.bytes_max,
                  "A log (the application's too) that has grown to this is cut; 0: never")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("BYTES")
      ->capture_default_str();
  app->add_option("--log-keep", log.keep, "Old parts of each log that stay: FILE.1, FILE.2, …")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app->add_option("--nice", background.nice,
                  "How much lower the priority of the work after the freeze is, 0 to 19")
      ->check(CLI::Range(0, 19))
      ->capture_default_str();
  app->add_option("--ionice", io_priority_,
                  "I/O priority of that work: none (as it is), idle, best-effort:0 to :7")
      ->type_name("CLASS")
      ->capture_default_str();
}

Status UpkeepFlags::Check() {
  // As it is before a working directory changes.
  if (!log.own_log.empty()) log.own_log = std::filesystem::absolute(log.own_log);
  return ParseIoPriority(io_priority_, &background);
}

std::vector<std::string> UpkeepFlags::ForRun() const {
  return {"--log-max-size", std::to_string(log.bytes_max),   "--log-keep", std::to_string(log.keep),
          "--nice",         std::to_string(background.nice), "--ionice",   io_priority_};
}

}  // namespace snapstore::agent
