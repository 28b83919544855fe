#include "agent/restore_attempt.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// As CRIU needs it; containers may forbid it.
bool HasUserfaultfd() {
  const UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |
                 UFFD_FEATURE_EVENT_REMOVE;
  return fd.valid() && ioctl(fd.get(), UFFDIO_API, &api) == 0;
}

// How memory comes that need not be there while CRIU works.
enum class Filling { kByCriu, kBeforeResume, kWhileRunning };

Filling ChooseFilling(LazyChoice choice, const CheckpointReader& checkpoint) {
  const uint64_t bytes = checkpoint.lazy_bytes();
  if (bytes == 0) return Filling::kByCriu;
  if (choice == LazyChoice::kOn) return Filling::kWhileRunning;
  if (!HasUserfaultfd()) {
    LogInfo("no lazy restore: the kernel does not grant userfaultfd(2)");
    return Filling::kByCriu;
  }
  const bool lazily = choice == LazyChoice::kAuto && bytes >= kLazyBytesMin;
  return lazily ? Filling::kWhileRunning : Filling::kBeforeResume;
}

// Empty: established connections are to be kept. Else why not.
Result<std::string> WhyCloseConnections(const std::vector<TcpConnection>& connections,
                                        const std::string& trigger, TcpChoice choice) {
  if (choice == TcpChoice::kClose) return std::string("asked to");
  if (choice == TcpChoice::kAuto && trigger != kFinalTrigger) {
    return std::string("the application ran on after this checkpoint");
  }
  SNAP_ASSIGN_OR_RETURN(const std::string missing, FirstMissingAddress(connections));
  if (missing.empty()) return std::string();
  return fmt::format("{} is not an address of this machine", missing);
}

}  // namespace

Result<LazyChoice> ParseLazyChoice(std::string_view name) {
  if (name == "auto") return LazyChoice::kAuto;
  if (name == "on") return LazyChoice::kOn;
  if (name == "off") return LazyChoice::kOff;
  return Status::InvalidArgument(fmt::format("'{}': must be auto, on or off", name));
}

Result<RestoredApplication> RestoreApplication(
    const CriuDriver& criu, const std::string& directory,
    const std::shared_ptr<CheckpointReader>& checkpoint, const std::string& trigger,
    const RestoreChoices& choices, const std::function<Result<std::unique_ptr<Cell>>()>& new_cell) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<TcpConnection> connections, checkpoint->Connections());
  CriuDriver::RestoreOptions options;
  if (!connections.empty()) {
    SNAP_ASSIGN_OR_RETURN(const std::string why,
                          WhyCloseConnections(connections, trigger, choices.tcp));
    options.keep_connections = why.empty();
    if (!why.empty()) LogInfo("{} connections will be closed: {}", connections.size(), why);
  }
  Filling filling = ChooseFilling(choices.lazy, *checkpoint);
  bool memory_came = true;

  auto attempt = [&]() -> Result<RestoredApplication> {
    RestoredApplication restored;
    SNAP_RETURN_IF_ERROR(checkpoint->PutBackFiles());
    SNAP_ASSIGN_OR_RETURN(restored.cell, new_cell());
    options.lazy = filling != Filling::kByCriu;
    options.before_resume = nullptr;
    checkpoint->LeaveOutLazy(options.lazy);
    if (options.lazy) {
      SNAP_ASSIGN_OR_RETURN(restored.lazy,
                            LazyRestore::Create(directory, restored.cell->init_pid(), checkpoint));
    }
    if (filling == Filling::kBeforeResume) {
      options.before_resume = [&] { return restored.lazy->FinishBeforehand(); };
      restored.lazy->FillBeforehand();
    }
    const Status status = criu.Restore(restored.cell.get(), directory, checkpoint.get(),
                                       checkpoint->process_tree(), options);
    if (restored.lazy != nullptr) {
      // A page that could not be had is the better explanation.
      const Status memory = restored.lazy->progress().status;
      memory_came = memory.ok();
      SNAP_RETURN_IF_ERROR(memory);
    }
    SNAP_RETURN_IF_ERROR(status);
    return restored;
  };
  Result<RestoredApplication> restored = attempt();
  if (!restored.ok() && memory_came && options.keep_connections) {
    LogWarning("once more, with {} connections closed: {}", connections.size(),
               restored.status().message());
    options.keep_connections = false;
    restored = attempt();
  }
  if (!restored.ok() && memory_came && filling != Filling::kByCriu) {
    LogWarning("once more, with all memory through CRIU: {}", restored.status().message());
    filling = Filling::kByCriu;
    restored = attempt();
  }
  if (!restored.ok()) return restored;
  if (!connections.empty()) {
    restored->connections = options.keep_connections ? TcpOutcome::kKept : TcpOutcome::kClosed;
  }
  if (filling == Filling::kBeforeResume) restored->lazy.reset();
  if (filling == Filling::kWhileRunning) restored->lazy->Fill();
  return restored;
}

}  // namespace snapstore::agent
