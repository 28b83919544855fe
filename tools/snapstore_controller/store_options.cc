#include "tools/snapstore_controller/store_options.h"

#include "orchestrator/state/etcd_state_store.h"
#include "orchestrator/state/rocks_state_store.h"

namespace snapstore::spot {

void StoreOptions::AddTo(CLI::App* app, const std::string& what) {
  app->add_option("--state-dir", state_directory, what)->type_name("DIR");
  app->add_option("--etcd", etcd,
                  "The state is in etcd instead, where several controllers can share it")
      ->type_name("URL")
      ->delimiter(',');
  app->add_option("--etcd-ca", etcd_ca, "PEM file of etcd's certificate authority")
      ->type_name("FILE");
}

Result<std::unique_ptr<StateStore>> StoreOptions::Open() const {
  if (!etcd.empty()) {
    EtcdOptions options;
    options.endpoints = etcd;
    options.ca_file = etcd_ca;
    return EtcdStateStore::Open(options);
  }
  if (state_directory.empty()) {
    return Status::InvalidArgument("where is the state? give --state-dir, or --etcd");
  }
  return RocksStateStore::Open(state_directory + "/state");
}

}  // namespace snapstore::spot
