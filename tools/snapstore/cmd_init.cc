#include <fmt/format.h>

#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class InitCommand : public Command {
 public:
  Result<Finding> Run(Session& session) override {
    RepositoryOptions options;
    SNAP_RETURN_IF_ERROR(session.InitRepository(&options));
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    if (session.json()) {
      Json out;
      out["message_type"] = "initialized";
      out["id"] = repository->id();
      SetBytes(&out, "repository", repository->location());
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(
          session.out().Line(fmt::format("created repository {} at {}", repository->id(),
                                         EscapeForTerminal(repository->location()))));
    }
    return Finding::kNone;
  }
};

}  // namespace

const CommandInfo kInitCommand = {"init",
                                  "Make a new, empty repository. The place may be missing or an "
                                  "empty directory; anything else, an "
                                  "existing repository included, is left untouched and refused.",
                                  "  snapstore init -r /backup/repo\n"
                                  "  SNAPSTORE_REPOSITORY=efs://fs-0123abcd/repo snapstore init",
                                  MakeCommand<InitCommand>};

}  // namespace snapstore::cli
