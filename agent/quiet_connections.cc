#include "agent/quiet_connections.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "agent/held_connections.h"
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

// Address and port.
std::pair<std::string, uint16_t> EndOf(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& ip = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &ip.sin_addr, text.data(), text.size());
    return {text.data(), ntohs(ip.sin_port)};
  }
  const auto& ip = reinterpret_cast<const sockaddr_in6&>(address);
  inet_ntop(AF_INET6, &ip.sin6_addr, text.data(), text.size());
  return {text.data(), ntohs(ip.sin6_port)};
}

std::optional<TcpConnection> EndsOf(int fd) {
  sockaddr_storage own{};
  sockaddr_storage peer{};
  socklen_t own_size = sizeof(own);
  socklen_t peer_size = sizeof(peer);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) {
    return std::nullopt;
  }
  auto [local, local_port] = EndOf(own);
  auto [remote, remote_port] = EndOf(peer);
  return TcpConnection{std::move(local), std::move(remote), local_port, remote_port};
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
        if (auto ends = EndsOf(fd.get())) ends_.push_back(*std::move(ends));
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
  ends_.clear();
}

void QuietConnections::Finish(const std::string& app) {
  if (sockets_.empty()) return;
  for (const UniqueFd& fd : sockets_) {
    // A socket in this state is closed without telling the peer.
    const int on = 1;
    if (setsockopt(fd.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) != 0) {
      LogWarning("a connection will be closed aloud: {}", strerror(errno));
    }
  }
  if (const Status held = HoldConnections(app, ends_); !held.ok()) {
    LogWarning("connections will be reset when their peers send something: {}", held.message());
  }
}

}  // namespace snapstore::agent
