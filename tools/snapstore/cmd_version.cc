#include "base/status_macros.h"
#include "tools/snapstore/command.h"

namespace snapstore::cli {
namespace {

class VersionCommand : public Command {
 public:
  Result<Finding> Run(Session& session) override {
    if (session.json()) {
      Json out;
      out["message_type"] = "version";
      out["version"] = SNAPSTORE_VERSION;
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else {
      SNAP_RETURN_IF_ERROR(session.out().Line("snapstore " SNAPSTORE_VERSION));
    }
    return Finding::kNone;
  }
};

}  // namespace

const CommandInfo kVersionCommand = {"version", "Print the version of this program.",
                                     "  snapstore version --json", MakeCommand<VersionCommand>};

}  // namespace snapstore::cli
