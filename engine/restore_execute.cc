#include "engine/restore_execute.h"

#include <algorithm>

#include "base/file.h"
#include "base/status_macros.h"
#include "engine/parallel.h"

namespace snapstore {
namespace {

// Parts that one thread prepares at a time.
constexpr size_t kPrepareParts = 256;

// Damage ends the entry; a store that cannot be reached ends the restore.
bool EndsEntryOnly(const Status& status) {
  return status.Is(StatusCode::kCorruption) || status.Is(StatusCode::kNotFound) ||
         status.Is(StatusCode::kIo) || status.Is(StatusCode::kUnsupported);
}

}  // namespace

RestoreExecutor::RestoreExecutor(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
                                 RestoreReport* report)
    : repository_(repository),
      snapshot_(snapshot),
      report_(report),
      scratch_(repository->memory().threads) {}

Status RestoreExecutor::Run(RestoreWindow* window) {
  const auto poll = [this] { return report_->Poll(); };
  const auto threads = static_cast<unsigned>(scratch_.size());
  SNAP_RETURN_IF_ERROR(Prepare(window));
  const std::vector<std::span<const RestorePart>> batches = CutBatches(&window->parts());
  return RunParallel(
      threads, batches.size(),
      [&](size_t task, unsigned thread) {
        return RunBatch(*window, batches[task], &scratch_[thread]);
      },
      poll);
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
      static_cast<unsigned>(scratch_.size()), tasks,
      [&](size_t task, unsigned thread) -> Status {
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
      [this] { return report_->Poll(); });
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
  const auto end_part = [&](const RestorePart& part) {
    report_->progress().AddBytes(part.bytes());
    return output_of(part)->PartDone();
  };
  const auto fail_part = [&](const RestorePart& part, const Status& status) {
    output_of(part)->Fail(status);
    return end_part(part);
  };
  for (const RestorePart& part : batch) {
    if (output_of(part)->failed()) {
      SNAP_RETURN_IF_ERROR(end_part(part));
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
  return repository_->fetcher().ReadMany(
      PackKind::kData, chunks,
      [&](size_t i, ByteSpan bytes) -> Status {
        const RestorePart& part = *parts[i];
        Status written = WritePart(output_of(part), part, bytes, scratch);
        if (EndsRestore(written)) return written;
        return written.ok() ? end_part(part) : fail_part(part, written);
      },
      [&](size_t i, const Status& status) -> Status {
        return EndsEntryOnly(status) ? fail_part(*parts[i], status) : status;
      });
}

Status RestoreExecutor::WritePart(RestoreOutput* output, const RestorePart& part, ByteSpan bytes,
                                  Scratch* scratch) {
  if (output->failed()) return {};
  SNAP_ASSIGN_OR_RETURN(const int fd, output->Pin());
  Status written = output->Write(fd, part.offset, bytes, part.count, &scratch->bytes);
  output->Unpin();
  return written;
}

}  // namespace snapstore
