// Small programs that use one thing each, against CRIU's real verdict: what the preflight calls a
// blocker fails, what fails it calls a blocker, and what it says nothing about comes back whole.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>

#include "agent/preflight.h"
#include "agent/process_tree.h"
#include "base/unique_fd.h"
#include "tests/agent/agent_fixture.h"
#include "tests/agent/memory_images.h"

namespace snapstore::agent {
namespace {

constexpr int kUnavailable = 77;  // feature.py

enum class Fate {
  kNotDumped,
  kNotRestored,
  kChanged,  // it comes back, but not as it was
  kEither,   // depends on this machine: the preflight knows
  kMaybe,    // depends on this machine: the preflight warns
};

struct BlockedCase {
  const char* name;
  Fate fate;
  const char* text;  // of the finding
};

std::string TextOf(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    text += fmt::format("{}: {} {}\n",
                        finding.severity == Finding::Severity::kBlocker ? "blocker" : "warning",
                        finding.object, finding.reason);
  }
  return text;
}

class FeatureFixture : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    auto arena = Arena::Create(1ull << 30);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
    ASSERT_TRUE(arena_->Prepare(48 << 20).ok());
    std::filesystem::create_directory(Path("criu"));
    std::filesystem::create_directory(Path("work"));
  }

  // Starts it and waits until it has what it is about; false: this machine does not have that.
  bool Start(const std::string& program, const std::string& name) {
    auto cell = Cell::Create(
        Options({SNAPSTORE_TEST_PYTHON, "-B", std::string(SNAPSTORE_TEST_FOLDER) + "/" + program,
                 name, Path("work")}));
    EXPECT_TRUE(cell.ok()) << cell.status().ToString();
    if (!cell.ok()) return false;
    cell_ = std::move(*cell);
    EXPECT_TRUE(cell_->StartApplication().ok());
    std::optional<int> ended;
    EXPECT_TRUE(Eventually([&] {
      ended = cell_->WaitForExit(std::chrono::milliseconds(0));
      return ended.has_value() || std::filesystem::exists(Path("work/ready"));
    })) << name;
    if (ended) {
      EXPECT_EQ(WEXITSTATUS(*ended), kUnavailable) << Read(Path("app.log"));
    }
    return !ended && std::filesystem::exists(Path("work/ready"));
  }

  std::vector<Finding> Inspect() {
    auto pids = DescendantsOf(cell_->init_pid());
    EXPECT_TRUE(pids.ok());
    auto findings = InspectProcesses(*pids, {{Path("app.log")}, {Path("work")}});
    EXPECT_TRUE(findings.ok()) << findings.status().ToString();
    return findings.ok() ? *findings : std::vector<Finding>();
  }

  Status Dump() {
    auto dumped = criu_->Dump(cell_.get(), Path("criu"), arena_.get(), [] { return Status::Ok(); });
    if (!dumped.ok()) return dumped.status();
    images_ = std::make_unique<MemoryImages>(dumped->files);
    return Status::Ok();
  }

  // Into a new cell, the old one is gone by then.
  Status Restore() {
    cell_.reset();
    auto cell = Cell::Create(Options({"true"}));
    if (!cell.ok()) return cell.status();
    cell_ = std::move(*cell);
    return criu_->Restore(cell_.get(), Path("criu"), images_.get(), images_->Get("pstree.img"));
  }

  std::string Verdict() {
    Write("work/go", "");
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(Path("work/verdict")); }));
    return Read(Path("work/verdict"));
  }

  std::unique_ptr<Arena> arena_;
  std::unique_ptr<MemoryImages> images_;
  std::unique_ptr<Cell> cell_;
};

class BlockedFeature : public FeatureFixture, public ::testing::WithParamInterface<BlockedCase> {
 protected:
  void SetUp() override {
    FeatureFixture::SetUp();
    if (IsSkipped()) return;
    // What is outside: sockets with their owner, and a terminal.
    for (const auto& [kind, name] : {std::pair(SOCK_STREAM, "stream"),
                                     {SOCK_SEQPACKET, "packets"},
                                     {SOCK_DGRAM, "datagrams"}}) {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      fmt::format_to_n(address.sun_path, sizeof(address.sun_path) - 1, "{}/work/{}", directory_,
                       name);
      UniqueFd door(socket(AF_UNIX, kind | SOCK_CLOEXEC, 0));
      ASSERT_EQ(bind(door.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
      if (kind != SOCK_DGRAM) {
        ASSERT_EQ(listen(door.get(), 8), 0);
      }
      outside_.push_back(std::move(door));
    }
    UniqueFd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_EQ(grantpt(master.get()), 0);
    ASSERT_EQ(unlockpt(master.get()), 0);
    Write("work/terminal", ptsname(master.get()));
    outside_.push_back(std::move(master));
  }
  void TearDown() override {
    cell_.reset();
    std::filesystem::remove(Unlisted());
    FeatureFixture::TearDown();
  }

  // Of file_not_listed.
  std::string Unlisted() const { return directory_ + ".unlisted"; }

  void AcceptOutside() {
    accepted_.emplace_back(accept4(outside_[0].get(), nullptr, nullptr, SOCK_CLOEXEC));
    accepted_.emplace_back(accept4(outside_[1].get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

  std::vector<UniqueFd> outside_;
  std::vector<UniqueFd> accepted_;
};

TEST_P(BlockedFeature, IsNamed) {
  const auto& [name, fate, text] = GetParam();
  if (!Start("blocked.py", name)) GTEST_SKIP() << Read(Path("app.log"));
  const std::vector<Finding> findings = Inspect();
  const bool blocked = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.severity == Finding::Severity::kBlocker;
  });
  const Status dumped = Dump();
  Status restored = dumped;
  if (dumped.ok()) {
    std::filesystem::remove_all(Path("work/mount"));
    restored = Restore();
  }
  if (fate == Fate::kMaybe) {
    EXPECT_THAT(TextOf(findings), ::testing::HasSubstr(text)) << restored.ToString();
    return;
  }
  EXPECT_EQ(blocked, !restored.ok()) << restored.ToString() << "\n" << TextOf(findings);
  if (fate == Fate::kEither) return;
  EXPECT_THAT(TextOf(findings), ::testing::HasSubstr(text)) << restored.ToString();
  EXPECT_EQ(dumped.ok(), fate != Fate::kNotDumped) << dumped.ToString();
  EXPECT_EQ(restored.ok(), fate == Fate::kChanged) << restored.ToString();
}

constexpr auto kDump = Fate::kNotDumped;
constexpr auto kRestore = Fate::kNotRestored;
constexpr auto kChanged = Fate::kChanged;
INSTANTIATE_TEST_SUITE_P(
    All, BlockedFeature,
    ::testing::Values(
        BlockedCase{"io_uring", kDump, "descriptor 3 (anon_inode:[io_uring])"},
        BlockedCase{"io_uring_mapped", kDump, "mapping anon_inode:[io_uring]"},
        BlockedCase{"userfaultfd", kDump, "[userfaultfd]"},
        BlockedCase{"perf_event", kDump, "is a perf event"},
        BlockedCase{"bpf_map", kDump, "is a BPF object"},
        BlockedCase{"landlock_rules", kDump, "is a Landlock rule set"},
        BlockedCase{"alarm_timer", kDump, "wakes the machine"},
        BlockedCase{"pidfd_outside", kDump, "is a handle (pidfd) of process"},
        BlockedCase{"watch_of_proc", kDump, "watches a file of /proc"},
        BlockedCase{"terminal_outside", kDump, "is a terminal"},
        BlockedCase{"serial_line", kDump, "is a terminal"},
        BlockedCase{"virtual_machine", kDump, "is a device"},
        BlockedCase{"fuse_device", kDump, "is a device"},
        BlockedCase{"tunnel", kDump, "is a device"},
        BlockedCase{"block_device", kDump, "is a device"},
        BlockedCase{"message_queue", kDump, "is a POSIX message queue"},
        BlockedCase{"secret_memory", kDump, "is secret memory"},
        BlockedCase{"secret_memory_mapped", kDump, "mapping /secretmem"},
        BlockedCase{"huge_pages", kDump, "is memory of huge pages"},
        BlockedCase{"huge_pages_memfd", kDump, "is memory of huge pages"},
        BlockedCase{"packet_pipe", kDump, "is a pipe in packet mode"},
        BlockedCase{"big_deleted_file", kDump, "is a deleted file of 101 MiB"},
        BlockedCase{"detached_mount", kDump, "descriptor 3"},
        BlockedCase{"own_mount", kRestore, "only the application has mounted"},
        BlockedCase{"covered_file", kDump, "has lost the name"},
        BlockedCase{"deleted_hard_link", kRestore, "has lost the name"},
        BlockedCase{"file_of_dead_process", kRestore, "is of a process that is gone"},
        BlockedCase{"foreign_namespace", kRestore, "is a namespace"},
        BlockedCase{"multipath_tcp", kDump, "Multipath TCP"},
        BlockedCase{"vsock", kDump, "(vsock)"}, BlockedCase{"xdp", kDump, "AF_XDP"},
        BlockedCase{"crypto_socket", kDump, "is a socket of"},
        BlockedCase{"sctp", kDump, "is a socket of SCTP"},
        BlockedCase{"unread_netlink", kDump, "messages that were not read"},
        BlockedCase{"traced", kDump, "is being traced"},
        BlockedCase{"user_namespace", kDump, "in a namespace (user) of its own"},
        BlockedCase{"pid_namespace", kDump, "in a namespace (pid) of its own"},
        BlockedCase{"net_namespace", kRestore, "in a namespace (net) of its own"},
        BlockedCase{"mount_namespace", Fate::kMaybe, "in a mount namespace of its own"},
        BlockedCase{"uts_namespace", kDump, "in a namespace (uts) of its own"},
        BlockedCase{"ipc_namespace", kDump, "in a namespace (ipc) of its own"},
        BlockedCase{"cgroup_namespace", kDump, "in a namespace (cgroup) of its own"},
        BlockedCase{"time_namespace", kDump, "in a namespace (time_for_children) of its own"},
        BlockedCase{"user_namespace_of_all", kDump, "in a user namespace of its own"},
        BlockedCase{"shared_directory", kDump, "shares its working directory"},
        BlockedCase{"shared_memory", kDump, "shares its memory"},
        BlockedCase{"first_thread_ended", kDump, "has ended its first thread"},
        BlockedCase{"deadline_scheduling", kRestore, "has deadline scheduling"},
        BlockedCase{"program_in_memory", kRestore, "in memory only"},
        BlockedCase{"another_user", Fate::kEither, ""},
        BlockedCase{"kernel_tls", Fate::kEither, ""},
        BlockedCase{"pipe_outside", kChanged, "is a pipe that nobody else here holds"},
        BlockedCase{"datagrams_outside", kChanged, "is a Unix datagram socket"},
        BlockedCase{"one_processor", kChanged, "is bound to some of the processors"},
        BlockedCase{"io_priority", kChanged, "has an I/O priority"},
        BlockedCase{"personality", kChanged, "has a personality"},
        BlockedCase{"descriptors_under_way", kChanged, "were sent and not received"},
        BlockedCase{"directory_of_a_thread", kChanged, "has a working directory of its own"},
        BlockedCase{"descriptors_of_a_thread", kChanged, "has descriptors of its own"},
        BlockedCase{"unborn_pid_namespace", kChanged, "in a new PID namespace"},
        BlockedCase{"file_not_listed", kChanged, "neither an external file nor"}),
    [](const auto& row) { return std::string(row.param.name); });

class OutsideStream : public BlockedFeature {};
TEST_P(OutsideStream, IsNamedAcceptedOrNot) {
  const auto& [name, fate, text] = GetParam();
  ASSERT_TRUE(Start("blocked.py", name));
  EXPECT_THAT(TextOf(Inspect()), ::testing::HasSubstr(text)) << "not accepted yet";
  for (UniqueFd& door : outside_) (void)fcntl(door.get(), F_SETFL, O_NONBLOCK);
  AcceptOutside();
  EXPECT_THAT(TextOf(Inspect()), ::testing::HasSubstr(text));
  EXPECT_FALSE(Dump().ok());
}
INSTANTIATE_TEST_SUITE_P(
    All, OutsideStream,
    ::testing::Values(BlockedCase{"stream_outside", kDump, "is a Unix stream connection"},
                      BlockedCase{"packets_outside", kDump, "is a Unix stream connection"}),
    [](const auto& row) { return std::string(row.param.name); });

struct KeptCase {
  const char* program;
  const char* name;
};
class KeptFeature : public FeatureFixture, public ::testing::WithParamInterface<KeptCase> {};

TEST_P(KeptFeature, IsAsItWas) {
  if (!Start(GetParam().program, GetParam().name)) GTEST_SKIP() << Read(Path("app.log"));
  EXPECT_EQ(TextOf(Inspect()), "");
  const Status dumped = Dump();
  ASSERT_TRUE(dumped.ok()) << dumped.ToString();
  const Status restored = Restore();
  ASSERT_TRUE(restored.ok()) << restored.ToString();
  EXPECT_EQ(Verdict(), "OK");
}

std::vector<KeptCase> KeptCases(const char* program, std::initializer_list<const char*> names) {
  std::vector<KeptCase> cases;
  for (const char* name : names) cases.push_back({program, name});
  return cases;
}
std::string NameOfKept(const ::testing::TestParamInfo<KeptCase>& row) { return row.param.name; }

INSTANTIATE_TEST_SUITE_P(Memory, KeptFeature,
                         ::testing::ValuesIn(KeptCases(
                             "kept.py", {"pipe", "unix_sockets", "eventfd", "epoll", "timerfd",
                                         "interval_timers", "shared_memory", "system_v", "signals",
                                         "internet_sockets", "packet_sockets", "pidfd",
                                         "process_tree", "threads", "attributes", "seccomp",
                                         "host_name", "mappings", "asynchronous_io"})),
                         NameOfKept);
INSTANTIATE_TEST_SUITE_P(Files, KeptFeature,
                         ::testing::ValuesIn(KeptCases(
                             "kept_files.py", {"fifo", "memfd", "deleted_files", "removed_folders",
                                               "deleted_program", "watches", "fanotify", "locks",
                                               "root_folder", "own_terminal", "file_positions"})),
                         NameOfKept);

}  // namespace
}  // namespace snapstore::agent
