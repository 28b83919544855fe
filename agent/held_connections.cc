#include "agent/held_connections.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <string_view>

#include "agent/nft.h"
#include "agent/tcp_connections.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// Names of applications may have letters that names of tables may not.
std::string TableOf(const std::string& app) {
  return fmt::format("table inet snapstore-{:016x}", XXH3_64bits(app.data(), app.size()));
}

// Added first, so that there is one to delete.
std::string WithoutTable(const std::string& table) {
  return fmt::format("add {0}\ndelete {0}\n", table);
}

std::string SetText(std::string_view name, std::string_view type, const std::string& elements) {
  return fmt::format("  set {} {{\n    type {} . inet_service . {} . inet_service\n{}  }}\n", name,
                     type, type,
                     elements.empty() ? "" : fmt::format("    elements = {{ {} }}\n", elements));
}

}  // namespace

Status HoldConnections(const std::string& app, const std::vector<TcpConnection>& connections) {
  std::string four;
  std::string six;
  for (const TcpConnection& one : connections) {
    const std::string_view local = Unmapped(one.local);
    const std::string_view remote = Unmapped(one.remote);
    if (IsLoopback(local)) continue;
    std::string& elements = local.find(':') == std::string_view::npos ? four : six;
    elements += fmt::format("{}{} . {} . {} . {}", elements.empty() ? "" : ", ", remote,
                            one.remote_port, local, one.local_port);
  }
  if (four.empty() && six.empty()) return LetGoOfConnections(app);
  const std::string table = TableOf(app);
  const std::string chain =
      "  chain in {\n    type filter hook input priority -300; policy accept;\n"
      "    ip saddr . tcp sport . ip daddr . tcp dport @four drop\n"
      "    ip6 saddr . tcp sport . ip6 daddr . tcp dport @six drop\n  }\n";
  return RunNft(0, fmt::format("{}{} {{\n{}{}{}}}\n", WithoutTable(table), table,
                               SetText("four", "ipv4_addr", four), SetText("six", "ipv6_addr", six),
                               chain))
      .status();
}

Status LetGoOfConnections(const std::string& app) {
  return RunNft(0, WithoutTable(TableOf(app))).status();
}

}  // namespace snapstore::agent
