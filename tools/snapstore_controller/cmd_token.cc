#include <fmt/format.h>

#include "base/clock.h"
#include "base/status_macros.h"
#include "orchestrator/model/ids.h"
#include "orchestrator/state/controller_state.h"
#include "tools/snapstore_controller/command.h"
#include "tools/snapstore_controller/store_options.h"

namespace snapstore::spot {
namespace {

struct TokenOptions {
  StoreOptions store;
  std::vector<std::string> accounts;
  std::string label;
  int64_t expires_days = 0;
  std::string id;
};

std::string TimeOf(int64_t ms) { return FormatTime(ms * 1'000'000, 0); }

Json TokenJson(const char* type, const TokenRecord& token) {
  return {{"message_type", type},
          {"id", token.id},
          {"accounts", token.accounts},
          {"label", token.label},
          {"created", TimeOf(token.created_at_ms)},
          {"expires", token.expires_at_ms ? Json(TimeOf(*token.expires_at_ms)) : Json()}};
}

Result<std::unique_ptr<StateStore>> OpenStore(const TokenOptions& options) {
  auto store = options.store.Open();
  if (store.ok() || !store.status().Is(StatusCode::kConflict)) return store;
  return Status::Conflict(store.status().message() +
                          ": stop the controller, or keep the state in etcd");
}

Status Add(const TokenOptions& options, bool json) {
  for (const std::string& account : options.accounts) {
    if (IsId(IdPrefix::kAccount, account)) continue;
    return Status::InvalidArgument(
        fmt::format("--account: must be an id of the form act-…, not '{}'", account));
  }
  SNAP_ASSIGN_OR_RETURN(const auto store, OpenStore(options));
  ControllerState state(store.get());
  std::optional<std::chrono::seconds> lifetime;
  if (options.expires_days > 0) lifetime = std::chrono::days(options.expires_days);
  SNAP_ASSIGN_OR_RETURN(const auto token,
                        state.AddToken(options.accounts, options.label, lifetime));
  if (json) {
    Json document = TokenJson("token_added", token.record);
    document["token"] = token.text;
    fmt::print("{}\n", JsonText(document));
  } else {
    fmt::print("{}\n", token.text);
    fmt::print(stderr, "token {}: it is shown this once\n", token.record.id);
  }
  return Status::Ok();
}

Status Revoke(const TokenOptions& options, bool json) {
  SNAP_ASSIGN_OR_RETURN(const auto store, OpenStore(options));
  SNAP_RETURN_IF_ERROR(ControllerState(store.get()).RevokeToken(options.id));
  if (json) {
    fmt::print("{}\n", JsonText({{"message_type", "token_revoked"}, {"id", options.id}}));
  }
  return Status::Ok();
}

Status List(const TokenOptions& options, bool json) {
  SNAP_ASSIGN_OR_RETURN(const auto store, OpenStore(options));
  SNAP_ASSIGN_OR_RETURN(const auto tokens, ControllerState(store.get()).ListTokens());
  for (const TokenRecord& token : tokens) {
    if (json) {
      fmt::print("{}\n", JsonText(TokenJson("token", token)));
      continue;
    }
    fmt::print("{}  {}  created {}  {}  {}\n", token.id, fmt::join(token.accounts, ","),
               TimeOf(token.created_at_ms),
               token.expires_at_ms ? "expires " + TimeOf(*token.expires_at_ms) : "does not expire",
               token.label);
  }
  return Status::Ok();
}

}  // namespace

void AddTokenCommands(Program* program) {
  auto options = std::make_shared<TokenOptions>();
  CLI::App* group = program->root.add_subcommand(
      "token", "Add, revoke or list the tokens that callers of the API carry.");
  group->fallthrough();
  group->require_subcommand(1);
  const auto add_command = [&](const char* name, const char* what,
                               Status (*run)(const TokenOptions&, bool)) {
    CLI::App* app = group->add_subcommand(name, what);
    app->fallthrough();
    options->store.AddTo(app, "The controller's, which must not run");
    app->callback([program, options, run] {
      program->run = [program, options, run] { return run(*options, program->globals.json); };
    });
    return app;
  };
  CLI::App* add = add_command("add", "Make a token and print it, once.", &Add);
  add->add_option("--account", options->accounts,
                  "Account it may use, made if new; several: the first is the default")
      ->type_name("act-ID")
      ->required();
  add->add_option("--label", options->label, "What it is for")->type_name("TEXT");
  add->add_option("--expires-days", options->expires_days, "Days it is good for; else for ever")
      ->check(CLI::Range(1, 36'500));
  add->footer("\nExample:\n  snapstore-controller token add --account act-0a1b2c3d --state-dir D");
  CLI::App* revoke = add_command("revoke", "Make a token useless, at once.", &Revoke);
  revoke->add_option("ID", options->id, "tok-…, as 'token list' shows it")->required();
  revoke->footer("\nExample:\n  snapstore-controller token revoke tok-0a1b2c3d --state-dir D");
  add_command("list", "List tokens, without what is secret of them.", &List);
}

}  // namespace snapstore::spot
