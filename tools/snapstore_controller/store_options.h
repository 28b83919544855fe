// StoreOptions: where the controller's state is, as the command line says it.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_STORE_OPTIONS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_STORE_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

struct StoreOptions {
  std::string state_directory = {};
  std::vector<std::string> etcd = {};  // not empty: the state is there
  std::string etcd_ca = {};

  // --state-dir, --etcd and --etcd-ca; `what` is in the directory.
  void AddTo(CLI::App* app, const std::string& what);
  // InvalidArgument: neither is given. Conflict: another process has the directory's state open.
  Result<std::unique_ptr<StateStore>> Open() const;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_STORE_OPTIONS_H_
