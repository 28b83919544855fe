#include "agent/tcp_connections.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <set>

#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

Result<std::set<std::string>> AssignedAddresses() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return Status::FromErrno(errno, "list the network addresses");
  std::set<std::string> addresses;
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_UP) == 0) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (one->ifa_addr->sa_family == AF_INET) {
      const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
      inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size());
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      const auto* address = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr);
      inet_ntop(AF_INET6, &address->sin6_addr, text.data(), text.size());
    } else {
      continue;
    }
    addresses.insert(text.data());
  }
  freeifaddrs(first);
  return addresses;
}

}  // namespace

std::string_view Unmapped(std::string_view address) {
  constexpr std::string_view kMapped = "::ffff:";
  const bool mapped = address.starts_with(kMapped) && address.find('.') != std::string_view::npos;
  return mapped ? address.substr(kMapped.size()) : address;
}

bool IsLoopback(std::string_view address) {
  return address.starts_with("127.") || address == "::1";
}

Result<std::string> FirstMissingAddress(const std::vector<TcpConnection>& connections) {
  SNAP_ASSIGN_OR_RETURN(const std::set<std::string> here, AssignedAddresses());
  for (const TcpConnection& connection : connections) {
    const std::string_view local = Unmapped(connection.local);
    if (IsLoopback(local)) continue;
    if (!here.contains(std::string(local))) return std::string(local);
  }
  return std::string();
}

Result<TcpChoice> ParseTcpChoice(std::string_view name) {
  if (name == "auto") return TcpChoice::kAuto;
  if (name == "quiet") return TcpChoice::kQuiet;
  if (name == "keep") return TcpChoice::kKeep;
  if (name == "close") return TcpChoice::kClose;
  return Status::InvalidArgument(fmt::format("'{}': must be auto, quiet, keep or close", name));
}

std::string_view TcpOutcomeName(TcpOutcome outcome) {
  switch (outcome) {
    case TcpOutcome::kNone:
      return "none";
    case TcpOutcome::kKept:
      return "kept";
    case TcpOutcome::kClosed:
      return "closed";
  }
  return "unknown";
}

}  // namespace snapstore::agent
