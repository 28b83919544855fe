#include <algorithm>

#include "base/status_macros.h"
#include "engine/restore_tree.h"
#include "engine/run_list.h"

namespace snapstore {
namespace {

// A longer hole is cleared in steps, so that progress and cancellation come through.
constexpr uint64_t kZerosMax = 256 << 20;

}  // namespace

ContentRestorer::ContentRestorer(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
                                 OutputContext* context)
    : snapshot_(snapshot),
      context_(context),
      report_(context->report),
      executor_(repository, snapshot, context->report),
      window_(repository->memory().read_buffers) {}

Status ContentRestorer::FlushIfFull() { return window_.Full() ? Flush() : Status(); }

Status ContentRestorer::Flush() {
  SNAP_RETURN_IF_ERROR(executor_.Run(&window_));
  report_->SetStages(executor_.Stages());
  for (const Entry& link : window_.links()) {
    Status made = MakeLink(link);
    if (EndsRestore(made)) return made;
    if (!made.ok()) report_->FailEntry(link, made);
  }
  window_.Clear();
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
  window_.AddLink(std::move(entry));
  return FlushIfFull();
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
  return FlushIfFull();
}

Status ContentRestorer::PlanRuns(const std::shared_ptr<RestoreOutput>& output,
                                 const format::Entry& content) {
  const auto inconsistent = [] { return Status::Corruption("run list is inconsistent"); };
  if (content.size() == 0) return {};
  if (!content.has_content()) return inconsistent();
  uint32_t ordinal = window_.AddOutput(output);
  RunListReader runs(snapshot_->nodes.get(), content.content().runs());
  const bool holes_matter = output->device() || output->compares();
  const auto make_room = [&]() -> Status {
    if (!window_.Full()) return {};
    SNAP_RETURN_IF_ERROR(Flush());
    ordinal = window_.AddOutput(output);
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
      window_.AddPart({run.chunk, ordinal, run.offset, run.count});
    } else if (!holes_matter) {
      report_->progress().AddBytes(run.length);
    } else {
      for (uint64_t at = 0; at < run.length; at += kZerosMax) {
        SNAP_RETURN_IF_ERROR(make_room());
        window_.AddPart(
            {{}, ordinal, run.offset + at, std::min<uint64_t>(kZerosMax, run.length - at)});
      }
    }
  }
  return done == content.size() ? Status() : inconsistent();
}

}  // namespace snapstore
