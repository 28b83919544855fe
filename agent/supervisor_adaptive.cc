// Of the supervisor: checkpoints that are due by what would have to be stored.
#include "agent/process_tree.h"
#include "agent/supervisor.h"
#include "base/log.h"

namespace snapstore::agent {

void Supervisor::NoteForAdaptive(const CheckpointRecord& record) {
  const double now = clock_.Seconds();
  next_look_ = now;
  if (record.status.ok()) {
    adaptive_.OnCommit(now, record.bytes_new, record.seconds - record.frozen_ms / 1000);
  } else {
    adaptive_.OnFailure(now);
  }
}

void Supervisor::HandleAdaptive() {
  const double now = clock_.Seconds();
  if (!adaptive_.enabled() || now < next_look_) return;
  next_look_ = now + adaptive_.SecondsToNextLook(0);
  std::optional<uint64_t> dirty = checkpointer_->DirtyBytes(*cell_);
  if (!dirty) {
    bool committed = false;
    {
      const std::lock_guard lock(mutex_);
      committed = status_.last_success.has_value();
    }
    if (committed) {
      dirty = adaptive_.EstimateDirty(now);
    } else if (const auto pids = DescendantsOf(cell_->init_pid()); pids.ok()) {
      dirty = DumpBytesEstimate(*pids);
    }
  }
  if (!dirty) return;
  next_look_ = now + adaptive_.SecondsToNextLook(*dirty);
  {
    const std::lock_guard lock(mutex_);
    status_.dirty_bytes = dirty;
    status_.store_seconds = adaptive_.StoreSeconds(*dirty);
  }
  if (!adaptive_.IsDue(now, *dirty)) return;
  LogInfo("{} MiB changed, which would take {:.0f} s to store: taking a checkpoint", *dirty >> 20,
          adaptive_.StoreSeconds(*dirty));
  (void)TakeCheckpoint("adaptive", /*leave_stopped=*/false);
}

}  // namespace snapstore::agent
