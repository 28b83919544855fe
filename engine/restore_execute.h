// RestoreExecutor: carries out one window: looks at what is there, fetches, verifies, writes.
//
// Thread safety: Run belongs to one thread at a time; the threads inside are its own.
#ifndef SNAPSTORE_ENGINE_RESTORE_EXECUTE_H_
#define SNAPSTORE_ENGINE_RESTORE_EXECUTE_H_

#include <functional>
#include <span>
#include <vector>

#include "engine/busy_clock.h"
#include "engine/repository_impl.h"
#include "engine/restore_plan.h"
#include "engine/restore_report.h"
#include "snapstore/pipeline_stage.h"

namespace snapstore {

class RestoreExecutor {
 public:
  // All must outlive the executor. `go_on` is asked by the thread that calls Run.
  RestoreExecutor(RepositoryImpl* repository, const OpenedSnapshot* snapshot, RestoreReport* report,
                  std::function<Status()> go_on);

  // Every part of the window is done when it returns OK, or its output has failed and been
  // reported. An error ends the restore.
  Status Run(RestoreWindow* window);

  // How busy the workers were, in all windows so far.
  std::vector<PipelineStage> Stages() const;

 private:
  struct Scratch {
    Bytes bytes;
    std::vector<ByteSpan> pieces;
  };
  struct Fetched {
    const RestorePart* part = nullptr;
    ByteSpan bytes;  // of the chunk
  };

  Status Prepare(RestoreWindow* window);
  // Whether the part still has to be fetched.
  Result<bool> PreparePart(RestoreOutput* output, const RestorePart& part, Scratch* scratch);
  Status RunBatch(const RestoreWindow& window, std::span<const RestorePart> batch,
                  Scratch* scratch);
  Status EndPart(RestoreOutput* output, const RestorePart& part);
  // Writes what one frame brought, neighbours together.
  Status WriteParts(const RestoreWindow& window, std::span<Fetched> fetched, Scratch* scratch);
  Status WriteRun(RestoreOutput* output, std::span<const Fetched> run, Scratch* scratch);

  RepositoryImpl* const repository_;
  const OpenedSnapshot* const snapshot_;
  RestoreReport* const report_;
  const std::function<Status()> go_on_;
  std::vector<Scratch> scratch_;  // one a thread
  const double fetching_before_;
  const double queueing_before_;
  BusyClock running_;  // the window as a whole
  BusyClock looking_;
  BusyClock reading_;  // with fetching, waiting for a turn to decode, and writing
  BusyClock writing_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_EXECUTE_H_
