// ControlServer: the agent's HTTP interface.
//
//   GET  /status       what runs, since when, the last checkpoint
//   GET  /checkpoints  those in the repository, and this run's attempts
//   POST /checkpoint   takes one and answers with its record (500 with the reason when it failed);
//                      body {"trigger": "why"} or none
//   POST /stop         final checkpoint, then the application ends; body {"checkpoint": false}:
//                      none
//   GET  /metrics      Prometheus text
// With a token every request needs "Authorization: Bearer <token>".
#ifndef SNAPSTORE_AGENT_CONTROL_SERVER_H_
#define SNAPSTORE_AGENT_CONTROL_SERVER_H_

#include <memory>
#include <string>

#include "agent/supervisor.h"
#include "agent/token_server.h"
#include "base/listen_address.h"

namespace snapstore::agent {

struct ControlOptions {
  ListenAddress address;
  std::string token;             // empty: none is needed
  std::string certificate_file;  // PEM, with its chain; empty: plain HTTP
  std::string key_file;          // PEM
};

class ControlServer {
 public:
  // Listens and serves in threads of its own until destroyed. InvalidArgument: not a loopback
  // address and no token, or a certificate and key that are unfit. `supervisor` must outlive it.
  static Result<std::unique_ptr<ControlServer>> Start(const ControlOptions& options,
                                                      Supervisor* supervisor);

  // With the port that was really taken.
  const ListenAddress& address() const { return server_->address(); }
  const std::string& fingerprint() const { return server_->fingerprint(); }  // empty: no TLS
  std::string url() const { return server_->url(); }

 private:
  explicit ControlServer(std::unique_ptr<TokenServer> server) : server_(std::move(server)) {}
  std::unique_ptr<TokenServer> server_;
};

// What may say why a checkpoint is taken: 1 to 32 letters, digits, '-' and '_'.
bool IsTrigger(const std::string& text);

// The token in a file: its content without the line end; at least 16 bytes, no blanks.
Result<std::string> ReadTokenFile(const std::string& path);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CONTROL_SERVER_H_
