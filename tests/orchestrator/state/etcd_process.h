// EtcdProcess: a real etcd on loopback with a data folder of its own, for one test program.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_STATE_ETCD_PROCESS_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_STATE_ETCD_PROCESS_H_

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "orchestrator/state/etcd_state_store.h"
#include "tests/base/temp_folder.h"

namespace snapstore::spot {

class EtcdProcess {
 public:
  static bool Installed() { return std::filesystem::exists("/usr/bin/etcd"); }

  EtcdProcess() {
    const std::string client = fmt::format("http://127.0.0.1:{}", FreePort());
    const std::string peer = fmt::format("http://127.0.0.1:{}", FreePort());
    std::string arguments[] = {"/usr/bin/etcd",
                               "--data-dir=" + folder_.File("data"),
                               "--listen-client-urls=" + client,
                               "--advertise-client-urls=" + client,
                               "--listen-peer-urls=" + peer,
                               "--initial-advertise-peer-urls=" + peer,
                               "--initial-cluster=default=" + peer,
                               "--log-level=error"};
    char* argv[9] = {};
    for (size_t i = 0; i < 8; ++i) argv[i] = arguments[i].data();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log = folder_.File("log");
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (posix_spawn(&pid_, argv[0], &actions, nullptr, argv, environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
    options_.endpoints = {client};
  }
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;
  ~EtcdProcess() { Kill(); }

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  // A store under a prefix of its own, once the server answers; `before` is an endpoint that is
  // tried first.
  Result<std::unique_ptr<StateStore>> Open(const std::string& prefix,
                                           const std::string& before = "") const {
    EtcdOptions options = options_;
    if (!before.empty()) options.endpoints.insert(options.endpoints.begin(), before);
    options.key_prefix = prefix;
    options.leader_lease = std::chrono::seconds(2);
    auto store = EtcdStateStore::Open(options);
    for (int i = 0; i < 300 && !store.ok(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      store = EtcdStateStore::Open(options);
    }
    return store;
  }

 private:
  static int FreePort() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    (void)bind(fd, reinterpret_cast<sockaddr*>(&address), size);
    (void)getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    close(fd);
    return ntohs(address.sin_port);
  }

  const TempFolder folder_;
  pid_t pid_ = -1;
  EtcdOptions options_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_STATE_ETCD_PROCESS_H_
