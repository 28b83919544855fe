#include "agent/dump_rescue.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <functional>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/nft.h"
#include "agent/process_tree.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace snapstore::agent {
namespace {

constexpr std::string_view kTablePrefix = "table inet CRIU-";
constexpr size_t kNamesBytesMax = 1 << 20;
constexpr size_t kCommandLineBytesMax = 1 << 16;
constexpr std::chrono::milliseconds kPatience{1000};
constexpr std::chrono::milliseconds kStep{10};

std::set<std::string> LinesOf(std::string_view text) {
  std::set<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// Lines "table inet CRIU-…".
Result<std::set<std::string>> CriuTables(pid_t pid) {
  SNAP_ASSIGN_OR_RETURN(const std::string listed, RunNft(pid, "list tables inet"));
  std::set<std::string> tables = LinesOf(listed);
  std::erase_if(tables, [](const std::string& line) { return !line.starts_with(kTablePrefix); });
  return tables;
}

void ForEachProcess(const std::function<void(pid_t)>& visit) {
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator("/proc", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename();
    pid_t pid = 0;
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (failed == std::errc() && *end == '\0') visit(pid);
  }
}

// What tells one namespace from another.
ino_t NamespaceOf(pid_t pid, const char* kind) {
  struct stat info {};
  return stat(fmt::format("/proc/{}/ns/{}", pid, kind).c_str(), &info) == 0 ? info.st_ino : 0;
}

// By its arguments: it may have been started through a loader.
bool IsCriuDump(pid_t pid) {
  const auto bytes = ReadWholeFile(fmt::format("/proc/{}/cmdline", pid), kCommandLineBytesMax);
  if (!bytes.ok()) return false;
  bool criu = false;
  std::string_view rest = AsText(*bytes);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view word = rest.substr(0, end);
    if (criu && word == "dump") return true;
    criu = word == "criu" || word.ends_with("/criu");
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

bool AnotherDumpRuns(const Cell& cell) {
  const ino_t network = NamespaceOf(cell.init_pid(), "net");
  bool found = false;
  ForEachProcess(
      [&](pid_t pid) { found = found || (NamespaceOf(pid, "net") == network && IsCriuDump(pid)); });
  return found;
}

bool Within(std::chrono::milliseconds limit, const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kStep);
  }
  return true;
}

// A socket in repair mode sends and acknowledges nothing.
void EndRepair(int socket_fd) {
  int repair = 0;
  socklen_t size = sizeof(repair);
  if (getsockopt(socket_fd, IPPROTO_TCP, TCP_REPAIR, &repair, &size) != 0 || repair == 0) return;
  const int off = 0;
  if (setsockopt(socket_fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) != 0) {
    LogWarning("a TCP connection stays in repair mode: {}",
               Status::FromErrno(errno, "setsockopt").message());
  }
}

// "10.0.0.1 . 80", as nft writes it; a mapped IPv4 address as the latter. Empty: none of IP.
std::string EndpointText(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& ip = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &ip.sin_addr, text.data(), text.size());
    return fmt::format("{} . {}", text.data(), ntohs(ip.sin_port));
  }
  if (address.ss_family != AF_INET6) return "";
  const auto& ip = reinterpret_cast<const sockaddr_in6&>(address);
  if (IN6_IS_ADDR_V4MAPPED(&ip.sin6_addr)) {
    inet_ntop(AF_INET, &ip.sin6_addr.s6_addr[12], text.data(), text.size());
  } else {
    inet_ntop(AF_INET6, &ip.sin6_addr, text.data(), text.size());
  }
  return fmt::format("{} . {}", text.data(), ntohs(ip.sin6_port));
}

// As an element of the set in which CRIU notes what it blocks; empty: not connected.
std::string ConnectionText(int socket_fd) {
  sockaddr_storage own{};
  sockaddr_storage peer{};
  socklen_t own_size = sizeof(own);
  socklen_t peer_size = sizeof(peer);
  if (getsockname(socket_fd, reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      getpeername(socket_fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) {
    return "";
  }
  const std::string from = EndpointText(own);
  return from.empty() ? "" : fmt::format("{} . {}", from, EndpointText(peer));
}

// Ends repair mode of the sockets of `pid`, and adds its connections.
void LookAtSockets(pid_t pid, std::vector<std::string>* connections) {
  const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(it->path(), gone);
    if (gone || !target.starts_with("socket:")) continue;
    const int number = std::stoi(it->path().filename());
    const UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)));
    if (!copy.valid()) continue;
    EndRepair(copy.get());
    if (std::string text = ConnectionText(copy.get()); !text.empty()) {
      connections->push_back(std::move(text));
    }
  }
}

// Whether the table is there and blocks one of these.
bool Blocks(pid_t pid, const std::string& table, const std::vector<std::string>& connections) {
  const Result<std::string> content = RunNft(pid, "list " + table);
  return content.ok() &&
         std::any_of(connections.begin(), connections.end(), [&](const std::string& connection) {
           return content->find(connection) != std::string::npos;
         });
}

// In the cell's PID namespace, but none of its own: a CRIU at work, whose parent is outside.
Result<std::vector<pid_t>> ForeignProcesses(const Cell& cell) {
  SNAP_ASSIGN_OR_RETURN(std::vector<pid_t> own, DescendantsOf(cell.init_pid()));
  own.push_back(cell.init_pid());
  const ino_t inside = NamespaceOf(cell.init_pid(), "pid");
  std::vector<pid_t> foreign;
  ForEachProcess([&](pid_t pid) {
    if (NamespaceOf(pid, "pid") == inside && std::find(own.begin(), own.end(), pid) == own.end()) {
      foreign.push_back(pid);
    }
  });
  return foreign;
}

}  // namespace

Status DumpRescue::Begin(const Cell& cell) {
  SNAP_ASSIGN_OR_RETURN(const std::set<std::string> tables, CriuTables(cell.init_pid()));
  std::string text;
  for (const std::string& table : tables) text += table + "\n";
  return ReplaceFile(path_, AsBytes(text), 0600);
}

void DumpRescue::End() { (void)unlink(path_.c_str()); }

bool DumpRescue::IsPending() const { return access(path_.c_str(), F_OK) == 0; }

Status DumpRescue::Rescue(const Cell& cell) {
  SNAP_ASSIGN_OR_RETURN(const Bytes noted, ReadWholeFile(path_, kNamesBytesMax));
  SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell.init_pid()));
  std::vector<std::string> connections;
  for (const pid_t pid : pids) LookAtSockets(pid, &connections);
  const std::set<std::string> before = LinesOf(AsText(noted));
  const pid_t inside = cell.init_pid();
  SNAP_ASSIGN_OR_RETURN(const std::set<std::string> tables, CriuTables(inside));
  for (const std::string& table : tables) {
    if (before.contains(table)) continue;
    // One that blocks nothing of ours may be of a CRIU that is at work.
    if (!Blocks(inside, table, connections) && AnotherDumpRuns(cell)) continue;
    LogWarning("removing the {} that CRIU has left", table);
    Status removed = RunNft(inside, "delete " + table).status();
    if (removed.ok()) continue;
    // Another agent's rescue may have been quicker.
    SNAP_ASSIGN_OR_RETURN(const std::set<std::string> now, CriuTables(inside));
    if (now.contains(table)) return removed;
  }
  End();
  return Status::Ok();
}

void StandStill::Begin() {
  if (!stopped_.empty()) return;
  if (const Status told = cell_->SetHeld(true); !told.ok()) return;
  auto pids = DescendantsOf(cell_->init_pid());
  if (!pids.ok()) return;
  stopped_ = std::move(*pids);
  for (const pid_t pid : stopped_) kill(pid, SIGSTOP);
}

void StandStill::End() {
  if (stopped_.empty()) return;
  for (const pid_t pid : stopped_) kill(pid, SIGCONT);
  stopped_.clear();
  (void)cell_->SetHeld(false);
}

Status PutDumpInOrder(const Cell& cell, const std::string& directory) {
  SNAP_RETURN_IF_ERROR(EndForeignProcesses(cell));
  DumpRescue rescue(directory);
  if (!rescue.IsPending()) return Status::Ok();
  if (const Status rescued = rescue.Rescue(cell); !rescued.ok()) {
    LogError("connections of the application may be cut off: {}", rescued.message());
  }
  return Status::Ok();
}

Status EndForeignProcesses(const Cell& cell) {
  std::vector<pid_t> foreign;
  Status status;
  auto gone = [&] {
    auto found = ForeignProcesses(cell);
    status = found.status();
    if (found.ok()) foreign = std::move(*found);
    return !status.ok() || foreign.empty();
  };
  if (Within(kPatience, gone)) return status;
  LogWarning("killing {} process(es) that an agent before has left in the cell", foreign.size());
  for (const pid_t pid : foreign) kill(pid, SIGKILL);
  if (Within(kPatience, gone)) return status;
  return Status::Conflict(fmt::format("process {} does not end", foreign.front()));
}

}  // namespace snapstore::agent
