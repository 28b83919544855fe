#include "engine/snapshotter.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>
#include <thread>

#include "base/check.h"
#include "base/host_name.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/manifest.h"
#include "engine/source_reader.h"

namespace snapstore {
namespace {

constexpr size_t kReadBufferBytes = 1 << 20;
constexpr size_t kReadBuffersMin = 8;
// The buffers that events carry are bounded by their pool, the entries by this.
constexpr size_t kEventQueue = 64;

std::string UserName() {
  std::array<char, 4096> buffer{};
  struct passwd entry {};
  struct passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
      found != nullptr) {
    return found->pw_name;
  }
  return std::to_string(::geteuid());
}

IoBackend BackendFor(IoChoice choice) {
  switch (choice) {
    case IoChoice::kUring:
      return IoBackend::kUring;
    case IoChoice::kThreads:
      return IoBackend::kThreads;
    case IoChoice::kAuto:
      break;
  }
  return IoBackend::kAuto;
}

}  // namespace

Snapshotter::Snapshotter(RepositoryImpl* repository, const SnapshotRequest* request,
                         Observer* observer)
    : repository_(repository), request_(request), observer_(observer) {}

Result<SnapshotSummary> Snapshotter::Run() {
  SNAP_RETURN_IF_ERROR(Prepare());
  SNAP_RETURN_IF_ERROR(Pump());
  if (entry_count_ == on_the_way_) {
    return Status::NotFound(first_problem_.empty() ? "every source is excluded"
                                                   : "nothing could be read: " + first_problem_);
  }
  SNAP_RETURN_IF_ERROR(Commit());
  return summary_;
}

Status Snapshotter::Prepare() {
  SNAP_ASSIGN_OR_RETURN(sources_, BuildSourceTree(*request_));
  SNAP_ASSIGN_OR_RETURN(const std::vector<std::string> names, SourceNames(*request_));
  if (request_->have_changed_ranges && (request_->paths.size() != 1 || !request_->streams.empty() ||
                                        !request_->images.empty() || !request_->volumes.empty())) {
    return Status::InvalidArgument("changed blocks need exactly one volume or file");
  }
  constexpr int kLevelMax = 19;
  if (request_->compression_level < 0 || request_->compression_level > kLevelMax) {
    return Status::InvalidArgument("the compression level must be from 1 to 19, or 0");
  }
  std::array<uint8_t, 16> nonce{};
  SecureRandom(nonce);
  manifest_.set_nonce(nonce.data(), nonce.size());
  manifest_.set_repository_id(repository_->config().id.data(), repository_->config().id.size());
  manifest_.set_time_ns(WallNanos());
  manifest_.set_host(request_->host.empty() ? HostName() : request_->host);
  manifest_.set_user(UserName());
  for (const std::string& name : names) manifest_.add_paths(name);
  for (const auto& [key, value] : request_->tags) {
    format::Tag* const tag = manifest_.add_tags();
    tag->set_key(key);
    tag->set_value(value);
  }
  // Before anything is looked at that a prune could take.
  SNAP_ASSIGN_OR_RETURN(session_, WriteSession::Begin(repository_));
  SNAP_RETURN_IF_ERROR(SelectParent());
  if (request_->have_changed_ranges && !parent_.has_value()) {
    return Status::InvalidArgument("changed blocks need a parent snapshot, and there is none");
  }
  SNAP_ASSIGN_OR_RETURN(cut_rules_, CutRules::Create(repository_->config().chunker_seed));
  const PackWriterOptions options{
      .threads = repository_->memory().threads,
      .compression_level = request_->compression_level,
      .pack_bytes = repository_->memory().pack,
      .uploads = repository_->memory().uploads,
      .compare = request_->paranoid ? &repository_->fetcher() : nullptr};
  SNAP_RETURN_IF_ERROR(session_->Start(
      parent_.has_value() ? parent_->packs->Copy() : std::vector<PackId>(), options, observer_));
  packs_ = &session_->packs();
  entries_ = std::make_unique<EntryListWriter>(packs_, &repository_->config().hash_secret);
  progress_ = std::make_unique<ProgressReporter>(observer_, "snapshot");
  if (request_->paths.empty() && request_->streams.empty() && request_->images.empty()) {
    uint64_t bytes = 0;
    for (const VolumeSource& volume : request_->volumes) bytes += volume.size;
    progress_->SetBytesTotal(bytes);
  }
  return {};
}

Status Snapshotter::SelectParent() {
  if (request_->parent == "none") return {};
  std::string id;
  if (request_->parent == "auto") {
    SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> infos,
                          repository_->ListSnapshots(observer_, nullptr));
    const std::vector<std::string> paths(manifest_.paths().begin(), manifest_.paths().end());
    // A repaired snapshot stands in for the damaged one: what that lost has to be stored again.
    std::set<std::string> damaged;
    for (const SnapshotInfo& info : infos) damaged.insert(info.repaired_from);
    const auto found = std::find_if(infos.rbegin(), infos.rend(), [&](const SnapshotInfo& info) {
      return info.host == manifest_.host() && info.paths == paths && !damaged.contains(info.id);
    });
    if (found == infos.rend()) return {};
    id = found->id;
  } else {
    SNAP_ASSIGN_OR_RETURN(id, repository_->ResolveSnapshot(request_->parent));
  }
  SNAP_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(id));
  parent_id_ = digest;
  SNAP_ASSIGN_OR_RETURN(parent_, repository_->OpenSnapshot(digest));
  manifest_.set_parent(digest.bytes.data(), digest.bytes.size());
  return {};
}

std::optional<Digest> Snapshotter::UnreadableParent(const Status& status) const {
  const bool forgotten = status.Is(StatusCode::kNotFound) && !parent_.has_value();
  const bool damaged =
      status.Is(StatusCode::kCorruption) && (!parent_.has_value() || parent_->nodes->damaged());
  const bool given = request_->parent != "auto" || request_->have_changed_ranges;
  const bool spent = pumped_ && !(request_->streams.empty() && request_->volumes.empty());
  if (given || spent || !(forgotten || damaged)) return {};
  return parent_id_;
}

Status Snapshotter::Pump() {
  pumped_ = true;
  BufferPool pool(std::max(kReadBuffersMin, repository_->memory().read_buffers / kReadBufferBytes),
                  kReadBufferBytes);
  BoundedQueue<SourceEvent> queue(kEventQueue);
  EventSink sink(&queue, &pool);
  SourceReaderOptions options;
  options.request = request_;
  options.root = &sources_;
  options.parent = parent_.has_value() ? &*parent_ : nullptr;
  options.time_ns = manifest_.time_ns();
  options.io = BackendFor(repository_->options().io);
  options.buffers_ahead = pool.count() / 2;
  SourceReader reader(options, &sink);
  Status read_status;
  std::thread thread([&] {
    read_status = reader.Run();
    queue.Close();
  });

  const Stopwatch stopwatch;
  Status status;
  while (status.ok()) {
    std::optional<SourceEvent> event = queue.Pop();
    if (!event.has_value()) break;
    status = progress_->Poll();
    if (status.ok()) status = Consume(std::move(*event));
  }
  if (!status.ok()) {
    queue.Cancel();
    pool.Cancel();
  }
  thread.join();
  const double seconds = stopwatch.Seconds();
  summary_.stages = {{"read", 1, seconds, seconds - queue.push_waited() - pool.waited()},
                     {"read small", static_cast<unsigned>(sink.readers().threads()), seconds,
                      sink.readers().busy()},
                     {"cut", 1, seconds, seconds - queue.pop_waited() - packs_->put_waited()}};
  for (PipelineStage& stage : packs_->Stages()) summary_.stages.push_back(std::move(stage));
  // Events left in the queue hold buffers of the pool.
  queue.Cancel();
  bytes_read_ += reader.bytes_read();
  return status.ok() ? read_status : status;
}

Status Snapshotter::Consume(SourceEvent event) {
  switch (event.kind) {
    case SourceEvent::Kind::kEntries:
      return AddEntries(event.batch.get());
    case SourceEvent::Kind::kBegin:
      StartEntry(event.entry);
      StartContent(event.cut, event.parent);
      return {};
    case SourceEvent::Kind::kData:
      progress_->AddBytes(event.data.size());
      return content_->Add(event.data);
    case SourceEvent::Kind::kHole:
      progress_->AddBytes(event.length);
      return content_->AddHole(event.length);
    case SourceEvent::Kind::kUnchanged:
      progress_->AddBytes(event.length);
      return content_->AddUnchanged(event.length);
    case SourceEvent::Kind::kEnd:
      return EndEntry(std::move(event.entry), event.status);
    case SourceEvent::Kind::kWarning:
      Warn(event.item, event.status);
      return {};
  }
  return Status::Internal("unknown source event");
}

Status Snapshotter::AddEntries(EntryBatch* batch) {
  batch->Wait();
  for (BatchedEntry& each : batch->entries()) {
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    StartEntry(each.entry);
    if (each.file != nullptr) {
      progress_->AddBytes(each.file->data.size());
      bytes_read_ += each.file->data.size();
      if (each.file->status.ok()) {
        StartContent(each.file->cut, each.file->parent);
        SNAP_RETURN_IF_ERROR(content_->Add(each.file->data));
      }
      SNAP_RETURN_IF_ERROR(EndEntry(std::move(each.entry), each.file->status));
      continue;
    }
    if (each.on_the_way) ++on_the_way_;
    if (each.entry.has_content()) progress_->AddBytes(each.entry.size());
    SNAP_RETURN_IF_ERROR(AddEntry(std::move(each.entry), nullptr));
  }
  return {};
}

void Snapshotter::StartEntry(const format::Entry& entry) {
  progress_->AddItems(1);
  progress_->SetCurrent(entry.path());
}

void Snapshotter::StartContent(CutRule cut, const std::optional<format::Content>& parent) {
  cut_ = cut;
  content_ = std::make_unique<ContentWriter>(
      &cut_rules_->For(cut), &repository_->config().hash_secret, packs_,
      parent_.has_value() ? parent_->nodes.get() : nullptr, parent);
}

Status Snapshotter::AddEntry(format::Entry entry, std::unique_ptr<RunListWriter> content) {
  const std::string path = entry.path();
  const uint64_t bytes = entry.has_content() ? entry.size() : 0;
  const uint64_t chunks = content != nullptr ? content->chunks() : entry.content().chunks();
  Status added = entries_->Add(std::move(entry), std::move(content));
  if (added.Is(StatusCode::kInvalidArgument)) {  // its attributes are too large to be stored
    Warn("/" + path, added);
    return {};
  }
  ++entry_count_;
  bytes_total_ += bytes;
  chunks_total_ += chunks;
  return added;
}

Status Snapshotter::EndEntry(format::Entry entry, const Status& status) {
  const std::unique_ptr<ContentWriter> content = std::move(content_);
  if (!status.ok()) {
    Warn("/" + entry.path(), status);
    return {};
  }
  if (entry.changed_while_read()) {
    Warn("/" + entry.path(), Status::Conflict("changed while it was read"));
  }
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<RunListWriter> runs, content->Finish());
  if (!content->refused().ok()) {
    Warn("/" + entry.path(), content->refused());
    return {};
  }
  SNAP_CHECK(runs->size() == entry.size());
  entry.mutable_content()->set_chunker(static_cast<uint32_t>(cut_rules_->For(cut_).params().kind));
  return AddEntry(std::move(entry), std::move(runs));
}

void Snapshotter::Warn(const std::string& item, const Status& status) {
  ++unreadable_;
  if (first_problem_.empty()) first_problem_ = item + ": " + status.message();
  if (observer_ != nullptr) observer_->OnWarning({item, status});
}

void Snapshotter::FillStatistics(format::Statistics* statistics, uint64_t manifest_bytes) const {
  const PackWriterStats written = packs_->stats();
  statistics->set_entries(entry_count_);
  statistics->set_unreadable(unreadable_);
  statistics->set_bytes_total(bytes_total_);
  statistics->set_bytes_read(bytes_read_);
  statistics->set_bytes_new(written.bytes_new);
  statistics->set_bytes_stored(session_->bytes_stored() + manifest_bytes);
  statistics->set_chunks_total(chunks_total_);
  statistics->set_chunks_new(written.chunks_new);
  statistics->set_duration_ms(static_cast<uint64_t>(stopwatch_.Seconds() * 1000));
}

Status Snapshotter::Commit() {
  progress_ = std::make_unique<ProgressReporter>(observer_, "commit");
  SNAP_RETURN_IF_ERROR(entries_->Finish(manifest_.mutable_tree()));
  SNAP_RETURN_IF_ERROR(
      session_->Finish(parent_.has_value() ? &parent_->manifest : nullptr, &manifest_));
  SNAP_RETURN_IF_ERROR(progress_->Poll());

  // The manifest's own size is part of what it says; a second encoding settles it.
  FillStatistics(manifest_.mutable_statistics(), 0);
  const uint64_t manifest_bytes = EncodeManifest(repository_->sealer(), manifest_).size();
  FillStatistics(manifest_.mutable_statistics(), manifest_bytes);
  if (request_->before_commit != nullptr) SNAP_RETURN_IF_ERROR(request_->before_commit());
  SNAP_ASSIGN_OR_RETURN(const Digest id,
                        session_->Commit(manifest_, parent_.has_value() ? &parent_->id : nullptr));
  summary_.info = InfoFromManifest(id, manifest_);
  return {};
}

Result<SnapshotSummary> TakeSnapshot(Repository& repository, const SnapshotRequest& request,
                                     Observer* observer) {
  RepositoryImpl* const impl = &RepositoryImpl::Of(repository);
  std::optional<Digest> unreadable;
  {
    Snapshotter snapshotter(impl, &request, observer);
    Result<SnapshotSummary> summary = snapshotter.Run();
    unreadable = snapshotter.UnreadableParent(summary.status());
    if (!unreadable.has_value()) return summary;
    if (observer != nullptr) {
      observer->OnWarning(
          {"snapshot " + unreadable->ToHex(),
           summary.status().WithContext("cannot be built upon, so all is read anew")});
    }
  }
  SnapshotRequest alone = request;
  alone.parent = "none";
  return Snapshotter(impl, &alone, observer).Run();
}

}  // namespace snapstore
