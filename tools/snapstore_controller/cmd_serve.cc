#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/host_name.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/api/api_server.h"
#include "tools/snapstore_controller/command.h"
#include "tools/snapstore_controller/leader.h"
#include "tools/snapstore_controller/store_options.h"

namespace snapstore::spot {
namespace {

struct ServeOptions {
  std::string listen;
  StoreOptions store;
  LeaderOptions leader;
  bool api_only = false;
  ApiOptions api;
  ApiServerOptions server;
};

Status Serve(const ServeOptions& options, bool json) {
  SNAP_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(options.listen));
  // Threads inherit the mask; this one waits for the signals.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  SNAP_RETURN_IF_ERROR(MakeDirectories(options.store.state_directory, 0700));
  SNAP_ASSIGN_OR_RETURN(const auto store, options.store.Open());
  ControllerState state(store.get());
  ApiOptions api = options.api;
  api.agent_silence_ms = options.leader.agent_silence_seconds * kMsPerSecond;
  std::unique_ptr<Leader> leader;
  if (!options.api_only) {
    const std::string name = fmt::format("{}/{}", HostName(), getpid());
    SNAP_ASSIGN_OR_RETURN(leader, Leader::Start(store.get(), name, options.leader));
    api.region = leader->region();
  }
  ApiService service(&state, api);
  if (!address.IsLoopback() && options.server.certificate_file.empty()) {
    LogWarning("listening on {} without TLS: tokens can be read on the way", address.ToString());
  }
  SNAP_ASSIGN_OR_RETURN(auto server, ApiServer::Start(address, options.server, &service));
  const std::string listen = server->address().ToString();
  SNAP_RETURN_IF_ERROR(
      ReplaceFile(options.store.state_directory + "/listen", AsBytes(listen + "\n")));
  if (json) {
    fmt::print("{}\n", nlohmann::json({{"message_type", "serving"}, {"listen", listen}}).dump());
  } else {
    fmt::print("serving on {}\n", listen);
  }
  fflush(stdout);
  int number = 0;
  sigwait(&signals, &number);
  server.reset();
  leader.reset();
  return Status::Ok();
}

}  // namespace

void AddServeCommand(Program* program) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* app = program->root.add_subcommand("serve", "Serve the Spot API.");
  app->fallthrough();
  app->add_option("--listen", options->listen, "Where; port 0 takes any free one")
      ->type_name("ADDR:PORT")
      ->required();
  options->store.AddTo(
      app, "What is kept: the state store, and the address that was taken (file 'listen')");
  app->get_option("--state-dir")->required();
  options->leader.AddTo(app);
  app->add_flag("--api-only", options->api_only,
                "Keep what is asked for, and leave it to other controllers to carry it out");
  auto* certificate = app->add_option("--tls-cert", options->server.certificate_file,
                                      "Certificate with its chain, PEM: serve HTTPS")
                          ->type_name("FILE");
  auto* key =
      app->add_option("--tls-key", options->server.key_file, "Its key, PEM")->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
  app->add_option("--rate-limit", options->api.calls_per_minute,
                  "Calls a minute per account, method and route; 0: no limit")
      ->capture_default_str();
  app->footer(R"(
Examples:
  snapstore-controller serve --listen 127.0.0.1:8080 --state-dir /var/lib/snapstore-controller
  snapstore-controller serve --listen 0.0.0.0:443 --state-dir /srv/c --tls-cert c.pem --tls-key k.pem)");
  app->callback([program, options] {
    program->run = [program, options] { return Serve(*options, program->globals.json); };
  });
}

}  // namespace snapstore::spot
