#include "agent/quiet_connections.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>

#include "base/log.h"

namespace snapstore::agent {
namespace {

bool IsEstablishedTcp(int fd) {
  int protocol = 0;
  socklen_t length = sizeof(protocol);
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0) return false;
  if (protocol != IPPROTO_TCP) return false;
  tcp_info info{};
  length = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return false;
  return info.tcpi_state != TCP_LISTEN && info.tcpi_state != TCP_CLOSE;
}

bool DropWhatComes(int fd) {
  sock_filter drop{BPF_RET | BPF_K, 0, 0, 0};
  const sock_fprog program{1, &drop};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

// The descriptors of a process that are sockets not in `seen`, which has their names.
std::vector<int> SocketsOf(pid_t pid, std::set<std::string>* seen) {
  std::vector<int> numbers;
  std::error_code error;
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(it->path(), gone);
    if (gone || !target.starts_with("socket:") || !seen->insert(target).second) continue;
    const std::string name = it->path().filename();
    int number = -1;
    std::from_chars(name.data(), name.data() + name.size(), number);
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

QuietConnections::QuietConnections(const std::vector<pid_t>& pids) {
  std::set<std::string> seen;
  for (const pid_t pid : pids) {
    const std::vector<int> numbers = SocketsOf(pid, &seen);
    if (numbers.empty()) continue;
    const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    for (const int number : numbers) {
      UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), number, 0)));
      if (!fd.valid()) {
        LogWarning("descriptor {} of process {} cannot be silenced: {}", number, pid,
                   strerror(errno));
        continue;
      }
      if (!IsEstablishedTcp(fd.get())) continue;
      if (DropWhatComes(fd.get())) {
        sockets_.push_back(std::move(fd));
      } else {
        LogWarning("a connection of process {} cannot be silenced: {}", pid, strerror(errno));
      }
    }
  }
}

void QuietConnections::Undo() {
  for (const UniqueFd& fd : sockets_) {
    const int unused = 0;
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
  }
  sockets_.clear();
}

void QuietConnections::Finish() {
  for (const UniqueFd& fd : sockets_) {
    // A socket in this state is closed without telling the peer.
    const int on = 1;
    if (setsockopt(fd.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) != 0) {
      LogWarning("a connection will be closed aloud: {}", strerror(errno));
    }
  }
}

}  // namespace snapstore::agent
