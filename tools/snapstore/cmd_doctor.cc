#include <fmt/format.h>

#include "agent/criu_doctor.h"
#include "base/status_macros.h"
#include "snapstore/doctor.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

using Grade = Diagnosis::Grade;

const char* GradeName(Grade grade) {
  return grade == Grade::kOk ? "ok" : grade == Grade::kWarning ? "warn" : "fail";
}

class DoctorCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_flag(
        "--write-probe", options_.write_probe,
        "Also put and delete one small object, to see what the store makes of conditions");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(const RepositoryOptions repository, session.PlaceOptions());
    session.BeginRun();
    const DiagnosisSink sink = [&](const Diagnosis& diagnosis) { Show(session, diagnosis); };
    Diagnose(repository, options_, sink);
    sink(agent::DiagnoseCriu());
    session.observer()->Finish();
    SNAP_RETURN_IF_ERROR(session.CheckInterrupt());
    SNAP_RETURN_IF_ERROR(Conclude(session));
    return failures_ > 0 ? Finding::kPartial : Finding::kNone;
  }

 private:
  void Show(Session& session, const Diagnosis& diagnosis) {
    if (diagnosis.grade == Grade::kFailure) ++failures_;
    if (diagnosis.grade == Grade::kWarning) ++warnings_;
    if (printed_.ok())
      printed_ = session.json() ? PrintJson(session, diagnosis) : PrintText(session, diagnosis);
  }

  static Status PrintJson(Session& session, const Diagnosis& diagnosis) {
    Json out;
    out["message_type"] = "diagnosis";
    out["subject"] = diagnosis.subject;
    out["grade"] = GradeName(diagnosis.grade);
    SetBytes(&out, "text", diagnosis.text);
    Json facts = Json::object();
    for (const auto& [name, fact] : diagnosis.facts) {
      std::visit([&facts, &key = name](const auto& value) { facts[key] = value; }, fact);
    }
    out["facts"] = std::move(facts);
    return session.out().Json(out);
  }

  static Status PrintText(Session& session, const Diagnosis& diagnosis) {
    if (session.quiet() && diagnosis.grade == Grade::kOk) return {};
    SNAP_RETURN_IF_ERROR(
        session.out().Line(fmt::format("{:<4}  {:<15}  {}", GradeName(diagnosis.grade),
                                       diagnosis.subject, EscapeForTerminal(diagnosis.text))));
    // Each takes a while: show it when it is known.
    return session.out().Flush();
  }

  Status Conclude(Session& session) {
    SNAP_RETURN_IF_ERROR(printed_);
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["failures"] = failures_;
      out["warnings"] = warnings_;
      return session.out().Json(out);
    }
    if (session.quiet()) return {};
    return session.out().Line(fmt::format("{} failures, {} warnings", failures_, warnings_));
  }

  DoctorOptions options_;
  Status printed_;
  uint64_t failures_ = 0;
  uint64_t warnings_ = 0;
};

}  // namespace

const CommandInfo kDoctorCommand = {
    "doctor",
    "Look for what will get in the way. Without a repository it is this machine that is looked at: "
    "kernel, memory, io_uring, the cache folder, CRIU. With one also its place: for S3 where the "
    "credentials come from, region, clock, versions and lifecycle rules of the bucket; for a "
    "directory its space and how it is mounted; then whether the repository is there and how fast "
    "it answers. Each line says ok, warn or fail; the exit code is 1 when something failed.",
    "  snapstore doctor\n"
    "  snapstore -r s3://bucket/path doctor --write-probe",
    MakeCommand<DoctorCommand>};

}  // namespace snapstore::cli
