#include <fmt/format.h>

#include <filesystem>

#include "base/status_macros.h"
#include "snapstore/benchmark.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

// "1.23 s", "456 MB/s", "7.8 MiB", "1.2 million/s"
std::string FormatValue(double value, const std::string& unit) {
  if (unit == "s") return fmt::format("{:.3f} s", value);
  if (unit == "B/s") return fmt::format("{:.0f} MB/s", value / 1e6);
  if (unit == "1/s") return fmt::format("{:.0f} 000/s", value / 1e3);
  if (unit == "B") return FormatSize(static_cast<uint64_t>(value));
  return fmt::format("{:.2f}", value);
}

class BenchCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("PATH", request_.paths, "Files, directories, image files, block devices")
        ->required();
    app->add_option("--work", request_.work,
                    "Folder for temporary repositories and restored copies; the temporary folder "
                    "by default");
    app->add_option("--runs", request_.runs, "Runs of each measurement")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
  }

  Result<Finding> Run(Session& session) override {
    std::error_code error;
    if (request_.work.empty()) request_.work = std::filesystem::temp_directory_path(error);
    for (std::string& path : request_.paths) {
      path = std::filesystem::absolute(path, error);
      if (!std::filesystem::exists(path, error)) {
        return Status::InvalidArgument(EscapeForTerminal(path) + ": no such file or directory");
      }
    }
    if (!std::filesystem::is_directory(request_.work, error)) {
      return Status::InvalidArgument("--work: " + EscapeForTerminal(request_.work) +
                                     " is no directory");
    }
    SNAP_ASSIGN_OR_RETURN(request_.options, session.EngineOptions());
    session.BeginRun();
    SNAP_RETURN_IF_ERROR(RunBenchmark(request_, session.observer(),
                                      [&](const BenchmarkResult& r) { return Add(session, r); }));
    session.observer()->Finish();
    return Print(session);
  }

 private:
  Status Add(Session& session, const BenchmarkResult& result) {
    SNAP_RETURN_IF_ERROR(session.CheckInterrupt());
    if (session.json()) {
      Json out;
      out["message_type"] = "result";
      out["group"] = result.group;
      out["name"] = result.name;
      out["unit"] = result.unit;
      out["bytes"] = result.bytes;
      out["median"] = result.Median();
      out["min"] = result.Least();
      out["max"] = result.Most();
      out["runs"] = result.samples.size();
      out["samples"] = result.samples;
      return session.out().Json(out);
    }
    results_.push_back(result);
    return Status::Ok();
  }

  // How fast the machine's own best for it is; 0 where there is none.
  double Ceiling(const BenchmarkResult& result) const {
    const bool packs = result.group == "snapshot" && result.name == "first";
    const std::string name = packs                       ? "zstd -1, "
                             : result.group == "restore" ? "memcpy"
                             : result.group == "snapshot" && result.name == "same bytes, read again"
                                 ? "XXH3"
                                 : "";
    if (name.empty()) return 0;
    double best = 0;
    for (const BenchmarkResult& each : results_) {
      if (each.group == "machine" && each.name.starts_with(name)) {
        best = std::max(best, each.Median());
      }
    }
    return best;
  }

  Result<Finding> Print(Session& session) {
    if (session.json()) return Finding::kNone;
    Table table({Table::Align::kLeft, Table::Align::kLeft, Table::Align::kRight,
                 Table::Align::kRight, Table::Align::kRight, Table::Align::kRight});
    table.Row({"", "", "median", "spread", "rate", "of the ceiling"});
    for (const BenchmarkResult& result : results_) {
      const double median = result.Median();
      const double spread = median > 0 ? (result.Most() - result.Least()) / median / 2 : 0;
      const double rate = result.unit == "s" && median > 0 ? result.bytes / median : 0;
      const double ceiling = Ceiling(result);
      table.Row({result.group, result.name, FormatValue(median, result.unit),
                 result.samples.size() > 1 ? fmt::format("± {:.0f} %", 100 * spread) : "",
                 rate > 0 ? FormatValue(rate, "B/s") : "",
                 rate > 0 && ceiling > 0 ? fmt::format("{:.0f} %", 100 * rate / ceiling) : ""});
    }
    for (const std::string& line : table.Lines()) SNAP_RETURN_IF_ERROR(session.out().Line(line));
    SNAP_RETURN_IF_ERROR(session.out().Line(
        "Ceilings: zstd -1 on all cores for a first snapshot, XXH3 on one core for reading again, "
        "memcpy on one core for restoring."));
    return Finding::kNone;
  }

  BenchmarkRequest request_;
  std::vector<BenchmarkResult> results_;
};

}  // namespace

const CommandInfo kBenchCommand = {
    "bench",
    "Measure snapstore with your own data, beside what this machine can do at most. The data is "
    "only read; repositories and restored copies are made below the work folder, which needs room "
    "for both, and are removed at the end. No repository is needed.",
    "  snapstore bench /var/lib/postgresql\n"
    "  snapstore bench disk.img --work /mnt/scratch --runs 3 --json",
    MakeCommand<BenchCommand>};

}  // namespace snapstore::cli
