#include "engine/restore_execute.h"

#include <algorithm>
#include <tuple>

#include "base/file.h"
#include "base/status_macros.h"
#include "engine/parallel.h"

namespace snapstore {
namespace {

// Parts that one thread prepares at a time.
constexpr size_t kPrepareParts = 256;

// Damage ends the entry, as a bad sector of a local disk does; a store elsewhere that cannot be
// reached, which was tried until the deadline, ends the restore.
bool EndsEntryOnly(const Status& status, bool far) {
  return status.Is(StatusCode::kCorruption) || status.Is(StatusCode::kNotFound) ||
         status.Is(StatusCode::kUnsupported) || (status.Is(StatusCode::kIo) && !far);
}

}  // namespace

RestoreExecutor::RestoreExecutor(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
                                 RestoreReport* report, std::function<Status()> go_on)
    : repository_(repository),
      snapshot_(snapshot),
      report_(report),
      go_on_(std::move(go_on)),
      scratch_(std::max(repository->memory().decoders(), repository->memory().reads)),
      fetching_before_(repository->fetcher().fetching()),
      queueing_before_(repository->fetcher().queueing()) {}

Status RestoreExecutor::Run(RestoreWindow* window) {
  const BusyClock::Scope running(&running_);
  const auto threads = static_cast<unsigned>(scratch_.size());
  SNAP_RETURN_IF_ERROR(Prepare(window));
  const std::vector<std::span<const RestorePart>> batches = CutBatches(&window->parts());
  return RunParallel(
      threads, batches.size(),
      [&](size_t task, unsigned thread) {
        return RunBatch(*window, batches[task], &scratch_[thread]);
      },
      go_on_);
}

std::vector<PipelineStage> RestoreExecutor::Stages() const {
  const ChunkFetcher& fetcher = repository_->fetcher();
  const double fetching = fetcher.fetching() - fetching_before_;
  const double queueing = fetcher.queueing() - queueing_before_;
  const double decoding = reading_.Seconds() - writing_.Seconds() - fetching - queueing;
  const unsigned decoders = repository_->memory().decoders();
  const double seconds = running_.Seconds();
  return {{"look", decoders, seconds, looking_.Seconds()},
          {"fetch", static_cast<unsigned>(scratch_.size()), seconds, fetching},
          {"decode", decoders, seconds, decoding},
          {"write", decoders, seconds, writing_.Seconds()}};
}

Status RestoreExecutor::Prepare(RestoreWindow* window) {
  std::vector<RestorePart>& parts = window->parts();
  const auto needs = [&](const RestorePart& part) {
    return part.zeros() || window->outputs()[part.output]->compares();
  };
  if (std::none_of(parts.begin(), parts.end(), needs)) return {};
  const size_t tasks = (parts.size() + kPrepareParts - 1) / kPrepareParts;
  std::vector<uint8_t> done(parts.size(), 0);
  const Status prepared = RunParallel(
      repository_->memory().decoders(), tasks,
      [&](size_t task, unsigned thread) -> Status {
        const BusyClock::Scope looking(&looking_);
        const size_t end = std::min(parts.size(), (task + 1) * kPrepareParts);
        for (size_t i = task * kPrepareParts; i < end; ++i) {
          if (!needs(parts[i])) continue;
          RestoreOutput* const output = window->outputs()[parts[i].output].get();
          const Result<bool> open = PreparePart(output, parts[i], &scratch_[thread]);
          if (open.ok() && *open) continue;
          if (EndsRestore(open.status())) return open.status();
          if (!open.ok()) output->Fail(open.status());
          done[i] = 1;
          report_->progress().AddBytes(parts[i].bytes());
          SNAP_RETURN_IF_ERROR(output->PartDone());
        }
        return {};
      },
      go_on_);
  SNAP_RETURN_IF_ERROR(prepared);
  size_t kept = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (done[i] == 0) parts[kept++] = parts[i];
  }
  parts.resize(kept);
  return {};
}

Result<bool> RestoreExecutor::PreparePart(RestoreOutput* output, const RestorePart& part,
                                          Scratch* scratch) {
  if (output->failed()) return false;
  SNAP_ASSIGN_OR_RETURN(const int fd, output->Pin());
  Result<bool> open = true;
  if (part.zeros()) {
    const Status zeroed = output->Zero(fd, part.offset, part.count, &scratch->bytes);
    open = zeroed.ok() ? Result<bool>(false) : Result<bool>(zeroed);
  } else {
    scratch->bytes.resize(part.chunk.id.length);
    bool same = true;
    for (uint64_t i = 0; same && i < part.count; ++i) {
      const Result<size_t> got = PreadFull(
          fd, scratch->bytes, part.offset + i * part.chunk.id.length, output->entry().path);
      if (!got.ok()) {
        output->Unpin();
        return got.status();
      }
      same = *got == scratch->bytes.size() &&
             ComputeChunkId(repository_->config().hash_secret, scratch->bytes) == part.chunk.id;
    }
    open = !same;
  }
  output->Unpin();
  return open;
}

Status RestoreExecutor::RunBatch(const RestoreWindow& window, std::span<const RestorePart> batch,
                                 Scratch* scratch) {
  std::vector<StoredChunk> chunks;
  std::vector<const RestorePart*> parts;
  chunks.reserve(batch.size());
  parts.reserve(batch.size());
  const auto output_of = [&](const RestorePart& part) {
    return window.outputs()[part.output].get();
  };
  const auto fail_part = [&](const RestorePart& part, const Status& status) {
    output_of(part)->Fail(status);
    return EndPart(output_of(part), part);
  };
  for (const RestorePart& part : batch) {
    if (output_of(part)->failed()) {
      SNAP_RETURN_IF_ERROR(EndPart(output_of(part), part));
      continue;
    }
    const Result<StoredChunk> chunk = snapshot_->nodes->Resolve(part.chunk);
    if (!chunk.ok()) {
      SNAP_RETURN_IF_ERROR(fail_part(part, chunk.status()));
      continue;
    }
    chunks.push_back(*chunk);
    parts.push_back(&part);
  }
  std::vector<Fetched> fetched;
  const BusyClock::Scope reading(&reading_);
  return repository_->fetcher().ReadMany(
      PackKind::kData, chunks,
      [&](std::span<const FetchedChunk> chunks_of_frame) -> Status {
        fetched.clear();
        for (const FetchedChunk& chunk : chunks_of_frame) {
          fetched.push_back({parts[chunk.ordinal], chunk.bytes});
        }
        return WriteParts(window, fetched, scratch);
      },
      [&](size_t i, const Status& status) -> Status {
        return EndsEntryOnly(status, repository_->fetcher().far()) ? fail_part(*parts[i], status)
                                                                   : status;
      });
}

Status RestoreExecutor::EndPart(RestoreOutput* output, const RestorePart& part) {
  report_->progress().AddBytes(part.bytes());
  return output->PartDone();
}

Status RestoreExecutor::WriteParts(const RestoreWindow& window, std::span<Fetched> fetched,
                                   Scratch* scratch) {
  const BusyClock::Scope writing(&writing_);
  std::sort(fetched.begin(), fetched.end(), [](const Fetched& a, const Fetched& b) {
    return std::tie(a.part->output, a.part->offset) < std::tie(b.part->output, b.part->offset);
  });
  for (size_t begin = 0; begin < fetched.size();) {
    size_t end = begin + 1;
    const auto follows = [&](const RestorePart& part, const RestorePart& before) {
      return part.output == before.output && part.offset == before.offset + before.bytes() &&
             part.count == 1 && before.count == 1;
    };
    while (end < fetched.size() && follows(*fetched[end].part, *fetched[end - 1].part)) ++end;
    RestoreOutput* const output = window.outputs()[fetched[begin].part->output].get();
    const std::span<const Fetched> run = fetched.subspan(begin, end - begin);
    Status written = WriteRun(output, run, scratch);
    if (EndsRestore(written)) return written;
    if (!written.ok()) output->Fail(written);
    for (const Fetched& each : run) SNAP_RETURN_IF_ERROR(EndPart(output, *each.part));
    begin = end;
  }
  return {};
}

Status RestoreExecutor::WriteRun(RestoreOutput* output, std::span<const Fetched> run,
                                 Scratch* scratch) {
  if (output->failed()) return {};
  SNAP_ASSIGN_OR_RETURN(const int fd, output->Pin());
  const RestorePart& first = *run.front().part;
  Status written;
  if (first.count > 1) {
    written = output->Repeat(fd, first.offset, run.front().bytes, first.count, &scratch->bytes);
  } else {
    scratch->pieces.clear();
    for (const Fetched& each : run) {
      ByteSpan* const last = scratch->pieces.empty() ? nullptr : &scratch->pieces.back();
      if (last != nullptr && last->data() + last->size() == each.bytes.data()) {
        *last = ByteSpan(last->data(), last->size() + each.bytes.size());
      } else {
        scratch->pieces.push_back(each.bytes);
      }
    }
    written = output->Write(fd, first.offset, scratch->pieces);
  }
  output->Unpin();
  return written;
}

}  // namespace snapstore
