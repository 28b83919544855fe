#include <algorithm>
#include <chrono>

#include "base/status_macros.h"
#include "engine/restore_tree.h"
#include "engine/run_list.h"

namespace snapstore {
namespace {

// A longer hole is cleared in steps, so that progress and cancellation come through.
constexpr uint64_t kZerosMax = 256 << 20;
constexpr std::chrono::milliseconds kJoinPoll{20};
// A window that stands for this much is worth starting before it is full.
constexpr uint64_t kEarlyContentBytes = 128 << 20;

}  // namespace

ContentRestorer::ContentRestorer(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
                                 OutputContext* context)
    : snapshot_(snapshot),
      context_(context),
      report_(context->report),
      executor_(repository, snapshot, context->report,
                [this] { return abandoned_ ? Status::Cancelled("restore ended") : Status(); }),
      early_bytes_(repository->memory().read_buffers / 8),
      windows_{RestoreWindow(repository->memory().read_buffers / 2),
               RestoreWindow(repository->memory().read_buffers / 2)} {}

ContentRestorer::~ContentRestorer() { abandoned_ = true; }

Status ContentRestorer::StartIfWorthIt() {
  if (window().Full()) return Start();
  if (window().bytes() < early_bytes_ && window().content_bytes() < kEarlyContentBytes) return {};
  // Rather a smaller window than idle workers.
  const bool idle =
      !running_.valid() || running_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  return idle ? Start() : Status();
}

Status ContentRestorer::Start() {
  SNAP_RETURN_IF_ERROR(Join());
  running_ =
      std::async(std::launch::async, [this, started = &window()] { return CarryOut(started); });
  current_ = 1 - current_;
  return {};
}

Status ContentRestorer::Join() {
  if (!running_.valid()) return {};
  Status polled;
  while (running_.wait_for(kJoinPoll) != std::future_status::ready) {
    if (polled.ok()) polled = report_->Poll();
    if (!polled.ok()) abandoned_ = true;
  }
  Status done = running_.get();
  report_->SetStages(executor_.Stages());
  return polled.ok() ? done : polled;
}

Status ContentRestorer::Finish() {
  SNAP_RETURN_IF_ERROR(Start());
  return Join();
}

Status ContentRestorer::CarryOut(RestoreWindow* window) {
  SNAP_RETURN_IF_ERROR(executor_.Run(window));
  for (const Entry& link : window->links()) {
    Status made = MakeLink(link);
    if (EndsRestore(made)) return made;
    if (!made.ok()) report_->FailEntry(link, made);
  }
  window->Clear();
  return {};
}

Status ContentRestorer::MakeLink(const Entry& entry) {
  if (report_->HasFailed(entry.hard_link_to)) {
    return Status::Corruption("the file it is a link to, " + entry.hard_link_to +
                              ", could not be restored");
  }
  return context_->tree->MakeHardLink(entry.hard_link_to, entry.path);
}

Status ContentRestorer::AddLink(Entry entry) {
  window().AddLink(std::move(entry));
  return StartIfWorthIt();
}

Status ContentRestorer::Add(const std::shared_ptr<RestoreOutput>& output,
                            const format::Entry& content) {
  Status planned = PlanRuns(output, content);
  if (planned.Is(StatusCode::kCorruption)) {
    output->Fail(planned);
  } else if (!planned.ok()) {
    return planned;
  }
  // The plan's own part: without any other, the file is finished here.
  SNAP_RETURN_IF_ERROR(output->PartDone());
  return StartIfWorthIt();
}

Status ContentRestorer::PlanRuns(const std::shared_ptr<RestoreOutput>& output,
                                 const format::Entry& content) {
  const auto inconsistent = [] { return Status::Corruption("run list is inconsistent"); };
  if (content.size() == 0) return {};
  if (!content.has_content()) return inconsistent();
  uint32_t ordinal = window().AddOutput(output);
  RunListReader runs(snapshot_->nodes.get(), content.content().runs());
  const bool holes_matter = output->device() || output->compares();
  const auto make_room = [&]() -> Status {
    const int planned = current_;
    SNAP_RETURN_IF_ERROR(StartIfWorthIt());
    if (current_ != planned) ordinal = window().AddOutput(output);
    return {};
  };
  uint64_t done = 0;
  while (true) {
    Result<const Run*> next = runs.Next();
    // A list that cannot be read is damage of this one file, other errors are not.
    if (next.status().Is(StatusCode::kNotFound)) {
      return Status::Corruption(next.status().message());
    }
    if (!next.ok()) return next.status();
    if (*next == nullptr) break;
    const Run& run = **next;
    if (run.offset != done || run.length > content.size() - done) return inconsistent();
    done += run.length;
    if (!run.hole) {
      SNAP_RETURN_IF_ERROR(make_room());
      window().AddPart({run.chunk, ordinal, run.offset, run.count});
    } else if (!holes_matter) {
      report_->progress().AddBytes(run.length);
    } else {
      for (uint64_t at = 0; at < run.length; at += kZerosMax) {
        SNAP_RETURN_IF_ERROR(make_room());
        window().AddPart(
            {{}, ordinal, run.offset + at, std::min<uint64_t>(kZerosMax, run.length - at)});
      }
    }
  }
  return done == content.size() ? Status() : inconsistent();
}

}  // namespace snapstore
