#include <fmt/format.h>

#include "base/status_macros.h"
#include "tools/snapstore/command.h"

namespace snapstore::cli {
namespace {

class RepairCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("WHAT", what_, "'index': the chunk index")
        ->required()
        ->check(CLI::IsMember({"index"}));
  }

  Result<Finding> Run(Session& session) override {
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(const uint64_t packs, repository->RebuildIndex(session.observer()));
    session.observer()->Finish();
    if (session.json()) {
      Json out;
      out["message_type"] = "summary";
      out["packs_read"] = packs;
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(
          session.out().Line(fmt::format("index rebuilt from the footers of {} packs", packs)));
    }
    // Packs that had to be left out were reported one by one.
    return session.observer()->saw_corruption() ? Finding::kDamage : Finding::kNone;
  }

 private:
  std::string what_;
};

}  // namespace

const CommandInfo kRepairCommand = {
    "repair",
    "Rebuild what can be derived from the packs. 'repair index' drops the local chunk index, fills "
    "it "
    "anew from the footers of all packs, and publishes the segments other machines need. It never "
    "changes a snapshot or a pack.",
    "  snapstore repair index", MakeCommand<RepairCommand>};

}  // namespace snapstore::cli
