#include <fmt/format.h>

#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

class InitCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    auto* encrypt =
        app->add_flag("--encrypt", init_.encrypt,
                      "Encrypt it, with the password or key file given, else a password asked for");
    app->add_option("--new-key-file", first_key_.key_file,
                    "With --encrypt: this file is the key; made, of random bytes, if missing")
        ->needs(encrypt);
    app->add_option("--label", init_.key_label, "With --encrypt: a name for the first key")
        ->needs(encrypt);
    auto* like = app->add_option("--like", like_.location,
                                 "Share ids and cuts with this repository, so that 'copy' between "
                                 "the two reads only what is missing");
    app->add_option("--like-o", like_.store_settings,
                    "KEY=VALUE for the store of that repository, as -o; may be repeated")
        ->allow_extra_args(false)
        ->needs(like);
    auto* key_file = app->add_option("--like-key-file", like_.key_file,
                                     "Its key file, if it is encrypted; else SNAPSTORE_KEY_FILE2")
                         ->needs(like);
    app->add_option("--like-password-file", like_.password_file,
                    "File with its password; else SNAPSTORE_PASSWORD_FILE2 or SNAPSTORE_PASSWORD2")
        ->needs(like)
        ->excludes(key_file);
  }

  Result<Finding> Run(Session& session) override {
    std::unique_ptr<Repository> model;
    if (!like_.location.empty()) {
      SNAP_ASSIGN_OR_RETURN(const RepositoryOptions options,
                            session.SecondOptions(like_, "--like"));
      SNAP_ASSIGN_OR_RETURN(model, session.OpenWith(options));
      init_.like = model.get();
    }
    SNAP_RETURN_IF_ERROR(session.InitRepository(init_, first_key_));
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    if (session.json()) {
      Json out;
      out["message_type"] = "initialized";
      out["id"] = repository->id();
      out["encrypted"] = repository->encrypted();
      SetBytes(&out, "repository", repository->location());
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(session.out().Line(
          fmt::format("created {}repository {} at {}", repository->encrypted() ? "encrypted " : "",
                      repository->id(), EscapeForTerminal(repository->location()))));
    }
    return Finding::kNone;
  }

 private:
  InitOptions init_;
  SecondRepository like_;
  NewKeySource first_key_;
};

}  // namespace

const CommandInfo kInitCommand = {
    "init",
    "Make a new, empty repository. The place may be missing or an "
    "empty directory; anything else, an "
    "existing repository included, is left untouched and refused. "
    "With --encrypt everything in it can only be read with a "
    "password or key file; if all are lost, so is the repository. "
    "With --like it can be copied to and from another repository at "
    "the least cost; the two then share one secret.",
    "  snapstore init -r /backup/repo\n"
    "  snapstore init -r s3://bucket/repo --encrypt\n"
    "  snapstore init -r /mnt/repo --encrypt --new-key-file repo.key\n"
    "  snapstore init -r s3://vault/repo --like /backup/repo",
    MakeCommand<InitCommand>};

}  // namespace snapstore::cli
