// The campaign as a command: docs/testing.md.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/log.h"
#include "tests/orchestrator/lifecycle/campaign.h"

// What is thrown is out of memory, which ends the program either way.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  snapstore::spot::CampaignOptions options;
  CLI::App app("Stateful nodes over a simulated cloud, for virtual days");
  app.add_option("--seed", options.seed, "what decides everything");
  app.add_option("--nodes", options.nodes, "nodes at one time")->check(CLI::Range(1, 10'000));
  app.add_option("--days", options.days, "virtual days")->check(CLI::Range(1, 3'660));
  app.add_option("--poll-seconds", options.poll_seconds, "virtual, between looks at the cloud");
  app.add_option("--crash-chance", options.crash_chance, "per changing call and per commit");
  app.add_option("--asked-per-day", options.asked_per_day, "requests per node and day");
  app.add_option("--troubles", options.troubles, "scales interruptions, failures, droughts");
  app.add_option("--faults", options.faults, "scales faults of API calls and agents");
  app.add_option("--account-lines", options.account_lines,
                 "of a node with which something is wrong");
  bool verbose = false;
  app.add_flag("--verbose", verbose, "the controller's own log");
  CLI11_PARSE(app, argc, argv);
  if (!verbose) snapstore::SetLogLevel(snapstore::LogLevel::kError);
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  options.progress = [](const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  };
  const auto result = snapstore::spot::RunCampaign(options);
  for (const auto& [what, count] : result.happened) {
    std::printf("| %-36s | %10llu |\n", what.c_str(), static_cast<unsigned long long>(count));
  }
  if (result.problems.empty()) {
    std::printf("nothing is wrong\n");
    return 0;
  }
  std::printf("%s", result.problems.c_str());
  return 1;
}
