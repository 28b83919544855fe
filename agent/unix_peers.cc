#include "agent/unix_peers.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace snapstore::agent {
namespace {

struct SocketListRequest {
  nlmsghdr header;
  unix_diag_req body;
};

void AddSocket(const nlmsghdr* header, std::map<uint32_t, UnixSocket>* sockets) {
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(unix_diag_msg))) return;
  const auto* message = static_cast<const unix_diag_msg*>(NLMSG_DATA(header));
  UnixSocket socket;
  socket.type = message->udiag_type;
  auto left = static_cast<int>(header->nlmsg_len - NLMSG_LENGTH(sizeof(unix_diag_msg)));
  const auto* attribute = reinterpret_cast<const rtattr*>(message + 1);
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(attribute) >= sizeof(uint32_t)) {
      socket.connected = true;
      socket.peer = LoadLe<uint32_t>(static_cast<const uint8_t*>(RTA_DATA(attribute)));
    }
    if (attribute->rta_type == UNIX_DIAG_SHUTDOWN && RTA_PAYLOAD(attribute) >= 1) {
      constexpr uint8_t kBothWays = 3;
      socket.closed = *static_cast<const uint8_t*>(RTA_DATA(attribute)) == kBothWays;
    }
    if (attribute->rta_type == UNIX_DIAG_ICONS) {
      const auto* inodes = static_cast<const uint8_t*>(RTA_DATA(attribute));
      for (size_t at = 0; at + sizeof(uint32_t) <= RTA_PAYLOAD(attribute); at += sizeof(uint32_t)) {
        socket.waiting.push_back(LoadLe<uint32_t>(inodes + at));
      }
    }
  }
  (*sockets)[message->udiag_ino] = std::move(socket);
}

}  // namespace

Result<std::map<uint32_t, UnixSocket>> ListUnixSockets() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd.valid()) return Status::FromErrno(errno, "open a socket to the kernel's socket list");
  SocketListRequest request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = ~0U;
  request.body.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS;
  if (send(fd.get(), &request, sizeof(request), 0) < 0) {
    return Status::FromErrno(errno, "ask for the kernel's socket list");
  }
  std::map<uint32_t, UnixSocket> sockets;
  alignas(nlmsghdr) std::array<uint8_t, 32768> buffer{};
  while (true) {
    const ssize_t got = recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Status::FromErrno(errno, "read the kernel's socket list");
    auto left = static_cast<unsigned>(got);
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return sockets;
      if (header->nlmsg_type == NLMSG_ERROR) {
        return Status::Unsupported("the kernel does not list Unix sockets (CONFIG_UNIX_DIAG)");
      }
      AddSocket(header, &sockets);
    }
  }
}

}  // namespace snapstore::agent
