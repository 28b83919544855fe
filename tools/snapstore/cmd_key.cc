#include <fmt/format.h>

#include "base/status_macros.h"
#include "snapstore/keys.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kIdDigitsShown = 16;

std::string_view KeyKindName(Credential::Kind kind) {
  return kind == Credential::Kind::kPassword ? "password" : "key-file";
}

Json KeyJson(const char* message, const KeyInfo& key) {
  Json out;
  out["message_type"] = message;
  out["id"] = key.id;
  if (!key.damage.ok()) {
    out["damage"] = key.damage.message();
    return out;
  }
  out["kind"] = KeyKindName(key.kind);
  SetBytes(&out, "label", key.label);
  SetBytes(&out, "host", key.host);
  out["created"] = key.created;
  out["current"] = key.current;
  return out;
}

class KeyCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ACTION", action_, "'add', 'list', 'remove' or 'rotate'")
        ->required()
        ->check(CLI::IsMember({"add", "list", "remove", "rotate"}));
    app->add_option("ID", id_, "remove: the key, by its id or at least four digits of it");
    app->add_option("--new-password-file", new_.password_file,
                    "add, rotate: the new password is this file's first and only line");
    app->add_option("--new-key-file", new_.key_file,
                    "add, rotate: this file is the new key; made, of random bytes, if missing");
    app->add_option("--label", label_, "add, rotate: a name for the key, shown by 'key list'");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(CheckArguments());
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    if (action_ == "list") return List(session, *repository);
    if (action_ == "remove") {
      SNAP_ASSIGN_OR_RETURN(const std::string id, RemoveKey(*repository, id_));
      return Report(session, "key_removed", {.id = id}, "removed key " + id);
    }
    SNAP_ASSIGN_OR_RETURN(const Credential credential, session.NewCredential(new_));
    if (action_ == "add") {
      SNAP_ASSIGN_OR_RETURN(const KeyInfo key, AddKey(*repository, credential, label_));
      return Report(session, "key_added", key, "added key " + key.id);
    }
    SNAP_ASSIGN_OR_RETURN(const KeyInfo key, RotateKey(*repository, credential, label_));
    return Report(session, "key_rotated", key, "key " + key.id + " took the place of the old one");
  }

 private:
  Status CheckArguments() const {
    const bool adds = action_ == "add" || action_ == "rotate";
    if (action_ == "remove" && id_.empty()) return Status::InvalidArgument("remove which key?");
    if (action_ != "remove" && !id_.empty()) {
      return Status::InvalidArgument(fmt::format("'key {}' takes no id", action_));
    }
    if (!adds && !(new_.empty() && label_.empty())) {
      return Status::InvalidArgument(
          fmt::format("'key {}' makes no new key: it takes no --new-… and no --label", action_));
    }
    return new_.Check();
  }

  static Result<Finding> Report(Session& session, const char* message, const KeyInfo& key,
                                const std::string& text) {
    if (session.json()) {
      Json out = KeyJson(message, key);
      if (key.created.empty()) out = {{"message_type", message}, {"id", key.id}};
      SNAP_RETURN_IF_ERROR(session.out().Json(out));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(session.out().Line(text));
    }
    return Finding::kNone;
  }

  static Result<Finding> List(Session& session, Repository& repository) {
    SNAP_ASSIGN_OR_RETURN(const std::vector<KeyInfo> keys, ListKeys(repository));
    bool damaged = false;
    for (const KeyInfo& key : keys) damaged = damaged || !key.damage.ok();
    SNAP_RETURN_IF_ERROR(session.json() ? ListJson(session, keys) : ListText(session, keys));
    return damaged ? Finding::kDamage : Finding::kNone;
  }

  static Status ListJson(Session& session, const std::vector<KeyInfo>& keys) {
    for (const KeyInfo& key : keys) {
      SNAP_RETURN_IF_ERROR(session.out().Json(KeyJson("key", key)));
    }
    return Status::Ok();
  }

  static Status ListText(Session& session, const std::vector<KeyInfo>& keys) {
    using Align = Table::Align;
    Table table({Align::kLeft, Align::kLeft, Align::kLeft, Align::kLeft, Align::kLeft});
    table.Row({"ID", "KIND", "CREATED", "HOST", "LABEL"});
    for (const KeyInfo& key : keys) {
      const std::string id = key.id.substr(0, kIdDigitsShown) + (key.current ? " *" : "");
      if (key.damage.ok()) {
        table.Row({id, std::string(KeyKindName(key.kind)), key.created, EscapeForTerminal(key.host),
                   EscapeForTerminal(key.label)});
      } else {
        table.Row({id, "damaged", "", "", EscapeForTerminal(key.damage.message())});
      }
    }
    for (const std::string& line : table.Lines()) SNAP_RETURN_IF_ERROR(session.out().Line(line));
    if (session.quiet()) return Status::Ok();
    return session.out().Line("* opened the repository just now");
  }

  std::string action_;
  std::string id_;
  NewKeySource new_;
  std::string label_;
};

}  // namespace

const CommandInfo kKeyCommand = {
    "key",
    "Add, list, remove or replace the passwords and key files that open an encrypted repository. "
    "Each of them opens all of it; none is needed to keep another. A new password is asked for on "
    "the terminal unless an option names a file. 'rotate' adds a new key and removes the one that "
    "was used to open the repository. No data is written anew: whoever had a key and kept a copy "
    "of the repository can still read that copy.",
    "  snapstore key add --new-key-file /root/repo.key --label 'in the safe'\n"
    "  snapstore key list\n"
    "  SNAPSTORE_KEY_FILE=/root/repo.key snapstore key remove 3f21",
    MakeCommand<KeyCommand>};

}  // namespace snapstore::cli
