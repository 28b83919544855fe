#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "agent/preflight_parts.h"

namespace snapstore::agent {
namespace {

// As the kernel names them (struct proto): what CRIU dumps.
constexpr std::array<std::string_view, 14> kKnownProtocols{
    "TCP",   "TCPv6", "UDP",         "UDPv6",   "UDP-Lite", "UDPLITEv6", "RAW",
    "RAWv6", "UNIX",  "UNIX-STREAM", "NETLINK", "PACKET",   "PING",      "PINGv6"};

struct ProtocolReason {
  std::string_view name;
  std::string_view reason;
};
constexpr std::array<ProtocolReason, 3> kProtocolReasons{{
    {"MPTCP",
     "is a socket of Multipath TCP, which CRIU cannot dump (Go programs: "
     "GODEBUG=multipathtcp=0)"},
    {"AF_VSOCK", "is a socket to the virtual machine's host (vsock), which CRIU cannot dump"},
    {"XDP", "is an AF_XDP socket, which CRIU cannot dump"},
}};

std::string ProtocolOf(const ProcessFacts& process, const Descriptor& descriptor) {
  std::array<char, 64> name{};
  const std::string path = process.Path(fmt::format("fd/{}", descriptor.number));
  const ssize_t length = getxattr(path.c_str(), "system.sockprotoname", name.data(), name.size());
  if (length <= 0) return {};
  std::string protocol(name.data(), static_cast<size_t>(length));
  return protocol.substr(0, protocol.find('\0'));
}

// Bytes that wait to be read, of a line "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode".
bool HasUnreadMessages(const ProcessFacts& process, uint32_t inode) {
  constexpr size_t kReceived = 4;
  const std::string table = ReadProcText(process.Path("net/netlink"));
  const std::string ending = fmt::format(" {}", inode);
  std::string_view rest = table;
  while (!rest.empty()) {
    const size_t newline = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, newline);
    rest.remove_prefix(std::min(newline + 1, rest.size()));
    while (line.ends_with(' ')) line.remove_suffix(1);
    if (!line.ends_with(ending)) continue;
    for (size_t field = 0; field < kReceived; ++field) {
      line.remove_prefix(std::min(line.find(' '), line.size()));
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    }
    uint64_t bytes = 0;
    std::from_chars(line.data(), line.data() + line.size(), bytes);
    return bytes != 0;
  }
  return false;
}

// Whether a listening socket of the application has not accepted it yet.
bool WaitsInside(uint32_t inode, const InspectedTree& tree) {
  return std::any_of(tree.sockets.begin(), tree.sockets.end(), [&](uint32_t own) {
    const auto socket = tree.unix_sockets.find(own);
    return socket != tree.unix_sockets.end() &&
           std::find(socket->second.waiting.begin(), socket->second.waiting.end(), inode) !=
               socket->second.waiting.end();
  });
}

void InspectUnix(const ProcessFacts& process, const Descriptor& descriptor,
                 const InspectedTree& tree, Findings* findings) {
  if (NumberBehind(descriptor.info, "scm_fds:") > 0) {
    findings->Warn(process, NameOf(descriptor),
                   "holds descriptors that were sent and not received yet: they are lost");
  }
  const uint32_t inode = InodeOf(descriptor.target);
  const auto socket = tree.unix_sockets.find(inode);
  if (socket == tree.unix_sockets.end() || !socket->second.connected) return;
  if (tree.sockets.contains(socket->second.peer)) return;
  if (socket->second.peer == 0 &&
      (socket->second.closed || socket->second.type == SOCK_DGRAM || WaitsInside(inode, tree))) {
    return;
  }
  if (socket->second.type == SOCK_DGRAM) {
    findings->Warn(process, NameOf(descriptor),
                   "is a Unix datagram socket to a process outside, which must be there at a "
                   "restore");
  } else {
    findings->Block(process, NameOf(descriptor),
                    "is a Unix stream connection to a process outside, of which CRIU cannot dump "
                    "one half");
  }
}

}  // namespace

void InspectSocket(const ProcessFacts& process, const Descriptor& descriptor,
                   const InspectedTree& tree, Findings* findings) {
  const std::string protocol = ProtocolOf(process, descriptor);
  if (protocol.starts_with("UNIX")) {
    InspectUnix(process, descriptor, tree, findings);
    return;
  }
  if (protocol == "NETLINK" && HasUnreadMessages(process, InodeOf(descriptor.target))) {
    findings->Block(process, NameOf(descriptor),
                    "is a netlink socket with messages that were not read, which CRIU cannot dump "
                    "(it may be otherwise in a moment)");
  }
  if (protocol.empty() || std::find(kKnownProtocols.begin(), kKnownProtocols.end(), protocol) !=
                              kKnownProtocols.end()) {
    return;
  }
  for (const auto& [name, reason] : kProtocolReasons) {
    if (!protocol.starts_with(name)) continue;
    findings->Block(process, NameOf(descriptor), reason);
    return;
  }
  findings->Block(process, NameOf(descriptor),
                  fmt::format("is a socket of {}, which CRIU cannot dump", protocol));
}

}  // namespace snapstore::agent
