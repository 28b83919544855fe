// The options of `run` and `node` for TLS of the control interface.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_TLS_OPTIONS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_TLS_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

struct TlsFlags {
  std::string certificate_file;
  std::string key_file;

  // --tls-certificate and --tls-key, also as the controller has them.
  void AddOptions(CLI::App* app);
  // InvalidArgument: they are given, and unfit.
  Status Check() const;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_TLS_OPTIONS_H_
