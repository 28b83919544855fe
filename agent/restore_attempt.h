// One attempt to bring an application back from a checkpoint: its files, a cell, its processes.
#ifndef SNAPSTORE_AGENT_RESTORE_ATTEMPT_H_
#define SNAPSTORE_AGENT_RESTORE_ATTEMPT_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/cell.h"
#include "agent/checkpoint_reader.h"
#include "agent/criu_driver.h"
#include "agent/lazy_restore.h"
#include "agent/tcp_connections.h"

namespace snapstore::agent {

// Whether the application runs before its memory has arrived. kAuto: when it has much.
enum class LazyChoice { kAuto, kOn, kOff };
Result<LazyChoice> ParseLazyChoice(std::string_view name);

// From how much memory on kAuto is lazy.
inline constexpr uint64_t kLazyBytesMin = 32 << 20;

struct RestoreChoices {
  LazyChoice lazy = LazyChoice::kAuto;
  TcpChoice tcp = TcpChoice::kAuto;
};

struct RestoredApplication {
  // Declared first, to go last: without it the application would read zeros where memory is
  // missing. Null when all memory is there.
  std::unique_ptr<LazyRestore> lazy;
  std::unique_ptr<Cell> cell;
  TcpOutcome connections = TcpOutcome::kNone;
};

// Restores what `checkpoint` has, external files included. `directory`: as in CriuDriver.
// `trigger`: of the checkpoint. Connections that cannot be kept after all are closed, and why is
// logged. `new_cell` makes a cell, for each try another one.
Result<RestoredApplication> RestoreApplication(
    const CriuDriver& criu, const std::string& directory,
    const std::shared_ptr<CheckpointReader>& checkpoint, const std::string& trigger,
    const RestoreChoices& choices, const std::function<Result<std::unique_ptr<Cell>>()>& new_cell);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_RESTORE_ATTEMPT_H_
