#include "agent/lazy_restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/stream_protocol.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// criu/uffd.c
constexpr const char* kLazySocketName = "/lazy-pages.socket";
constexpr int32_t kRestoreFinished = 0x52535446;

// What one touch brings, and of this only what lies in one frame with the page.
constexpr uint64_t kTouchBlockBytes = 16 << 10;
// Long, since the pages of one range may lie in the frames of many checkpoints.
constexpr uint64_t kFillBytes = 32 << 20;
// An application that has touched a page is about to touch others, and behind those who fill in the
// rest each would wait for a processor. So nothing is filled in for a while after a touch: longer
// at first, while it gathers what it needs to answer anybody. But what was touched is little: the
// rest goes on after the longest pause, so much at a time.
constexpr uint64_t kFillBetweenPauses = 1 << 20;
constexpr std::chrono::milliseconds kQuiet{2};
constexpr std::chrono::milliseconds kPauseMax{20};
constexpr std::chrono::milliseconds kFirstQuiet{20};
constexpr std::chrono::milliseconds kFirstPauseMax{500};
constexpr int kTouchThreads = 4;
// More than cores: they wait for the store, too.
constexpr unsigned kFillThreadsMin = 4;
constexpr unsigned kFillThreadsMax = 8;

// Where a part of the piece belongs.
LazyRange PartOf(const LazyRange& piece, const MemoryPart& part) {
  return {piece.address + (part.address - piece.origin), part.length, part.address};
}

void Signal(int eventfd) {
  const uint64_t one = 1;
  (void)!write(eventfd, &one, sizeof(one));
}

}  // namespace

Result<std::unique_ptr<LazyRestore>> LazyRestore::Create(const std::string& directory,
                                                         pid_t cell_init,
                                                         std::shared_ptr<LazyMemory> memory) {
  std::unique_ptr<LazyRestore> lazy(
      new LazyRestore(directory + kLazySocketName, std::move(memory)));
  SNAP_ASSIGN_OR_RETURN(lazy->guard_, LazyGuard::Start(cell_init));
  SNAP_ASSIGN_OR_RETURN(lazy->listening_, ListenUnix(lazy->socket_path_));
  lazy->wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  lazy->event_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!lazy->wake_.valid() || !lazy->event_.valid()) {
    return Status::FromErrno(errno, "make event descriptors");
  }
  LazyRestore* const self = lazy.get();
  const std::lock_guard lock(lazy->mutex_);
  lazy->threads_.emplace_back([self] { self->Watch(); });
  for (int i = 0; i < kTouchThreads; ++i) {
    lazy->threads_.emplace_back([self] { self->AnswerTouches(); });
  }
  return lazy;
}

LazyRestore::~LazyRestore() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    threads.swap(threads_);
  }
  changed_.notify_all();
  touch_.notify_all();
  WakeWatcher();
  for (std::thread& thread : threads) thread.join();
  // Before the userfaultfds are closed.
  guard_.reset();
  (void)unlink(socket_path_.c_str());
}

void LazyRestore::Fill() {
  StartFill(/*give_way=*/true);
  Settle();
}

void LazyRestore::Hurry() {
  {
    const std::lock_guard lock(mutex_);
    give_way_ = false;
  }
  changed_.notify_all();
}

void LazyRestore::FillBeforehand() { StartFill(/*give_way=*/false); }

Status LazyRestore::FinishBeforehand() {
  Settle();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_ || ending_ || !status_.ok(); });
  return status_;
}

void LazyRestore::Settle() {
  {
    const std::lock_guard lock(mutex_);
    settled_ = true;
    for (const Space& space : spaces_) space->Settle();
  }
  WakeWatcher();
}

void LazyRestore::StartFill(bool give_way) {
  const unsigned threads =
      std::clamp(std::thread::hardware_concurrency(), kFillThreadsMin, kFillThreadsMax);
  {
    const std::lock_guard lock(mutex_);
    if (fill_ || ending_) return;
    fill_ = true;
    give_way_ = give_way;
    fill_began_ = Clock::now();
    quiet_ = fill_began_ + kFirstQuiet;
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { FillSpaces(); });
  }
}

LazyProgress LazyRestore::progress() const {
  const std::lock_guard lock(mutex_);
  LazyProgress progress;
  progress.bytes = bytes_;
  for (const Space& space : spaces_) progress.missing_bytes += space->missing_bytes();
  progress.touched = touched_;
  progress.done = done_;
  progress.status = status_;
  const auto end = done_ ? fill_ended_ : Clock::now();
  if (fill_) progress.seconds = std::chrono::duration<double>(end - fill_began_).count();
  return progress;
}

void LazyRestore::WakeWatcher() { Signal(wake_.get()); }

void LazyRestore::Fail(const Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (done_ || ending_) return;
    if (status_.ok()) status_ = status;
  }
  changed_.notify_all();
  touch_.notify_all();
  // CRIU may be waiting for a page itself, and its owner for CRIU.
  guard_->EndCell();
  Signal(event_.get());
  WakeWatcher();
}

void LazyRestore::Watch() {
  while (true) {
    if (const Status status = WatchOnce(); !status.ok()) Fail(status);
    if (FinishIfWhole()) return;
    const std::lock_guard lock(mutex_);
    if (ending_ || !status_.ok()) return;
  }
}

Status LazyRestore::WatchOnce() {
  std::vector<Space> spaces;
  {
    const std::lock_guard lock(mutex_);
    spaces = spaces_;
  }
  std::vector<pollfd> fds{{wake_.get(), POLLIN, 0},
                          {connection_.valid() ? connection_.get() : listening_.get(), POLLIN, 0}};
  for (const Space& space : spaces) fds.push_back({space->fd(), POLLIN, 0});
  if (poll(fds.data(), fds.size(), -1) < 0) {
    return errno == EINTR ? Status::Ok() : Status::FromErrno(errno, "wait for touched pages");
  }
  uint64_t count = 0;
  if (fds[0].revents != 0) (void)!read(wake_.get(), &count, sizeof(count));
  if (fds[1].revents != 0 && fds[1].fd >= 0) {
    if (connection_.valid()) {
      SNAP_RETURN_IF_ERROR(TakeMessage());
    } else {
      SNAP_ASSIGN_OR_RETURN(connection_, AcceptUnix(listening_.get()));
      listening_.Reset();
    }
  }
  for (size_t i = 0; i < spaces.size(); ++i) {
    if (fds[i + 2].revents != 0) SNAP_RETURN_IF_ERROR(TakeNews(spaces[i]));
  }
  return Status::Ok();
}

// A process id, then its userfaultfd; of a zombie the negative id alone.
Status LazyRestore::TakeMessage() {
  int32_t pid = 0;
  ssize_t got;
  do {
    got = recv(connection_.get(), &pid, sizeof(pid), MSG_WAITALL);
  } while (got < 0 && errno == EINTR);
  if (got == 0 || (got < 0 && errno == ECONNRESET)) {
    connection_.Reset();
    return Status::Ok();
  }
  if (got != static_cast<ssize_t>(sizeof(pid))) {
    return got < 0 ? Status::FromErrno(errno, "read from CRIU")
                   : Status::Corruption("CRIU's lazy pages: ends within a message");
  }
  if (pid < 0 || pid == kRestoreFinished) return Status::Ok();
  SNAP_ASSIGN_OR_RETURN(UniqueFd userfaultfd, ReceiveDescriptor(connection_.get()));
  const int flags = fcntl(userfaultfd.get(), F_GETFL);
  if (flags < 0 || fcntl(userfaultfd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return Status::FromErrno(errno, "set up a userfaultfd");
  }
  LazyRanges missing;
  for (const PageRun& run : memory_->LazyRuns(pid)) {
    missing.Add(run.address, run.bytes, run.address);
  }
  LogDebug("process {}: {} bytes come later", pid, missing.bytes());
  {
    const std::lock_guard lock(mutex_);
    bytes_ += missing.bytes();
  }
  return AddSpace(std::make_shared<LazySpace>(pid, std::move(userfaultfd), std::move(missing)));
}

Status LazyRestore::AddSpace(Space space) {
  SNAP_RETURN_IF_ERROR(guard_->Hold(space->fd()));
  const std::lock_guard lock(mutex_);
  if (settled_) space->Settle();
  spaces_.push_back(std::move(space));
  changed_.notify_all();
  return Status::Ok();
}

Status LazyRestore::TakeNews(const Space& space) {
  SNAP_ASSIGN_OR_RETURN(LazySpace::News news, space->ReadNews());
  for (Space& child : news.children) SNAP_RETURN_IF_ERROR(AddSpace(std::move(child)));
  if (news.touched.empty()) return Status::Ok();
  const std::lock_guard lock(mutex_);
  touched_ += news.touched.size();
  for (const uint64_t address : news.touched) {
    touches_.push_back({space, address});
    touch_.notify_one();
  }
  return Status::Ok();
}

// Only the watcher adds spaces; none is closed before the last is whole: until then its pages that
// are not missing are still asked for.
bool LazyRestore::FinishIfWhole() {
  {
    const std::lock_guard lock(mutex_);
    if (!settled_) return false;
  }
  // What CRIU had said by then may not have been heard yet.
  pollfd news{connection_.valid() ? connection_.get() : listening_.get(), POLLIN, 0};
  if (news.fd >= 0 && poll(&news, 1, 0) != 0) return false;
  {
    const std::lock_guard lock(mutex_);
    if (!fill_ || !status_.ok() || ending_) return false;
    for (const Space& space : spaces_) {
      if (space->missing_bytes() != 0) return false;
    }
    done_ = true;
    fill_ended_ = Clock::now();
  }
  changed_.notify_all();
  touch_.notify_all();
  guard_->Release();
  {
    const std::lock_guard lock(mutex_);
    touches_.clear();
    spaces_.clear();
  }
  Signal(event_.get());
  return true;
}

void LazyRestore::AnswerTouches() {
  std::unique_lock lock(mutex_);
  while (true) {
    touch_.wait(lock, [this] { return !touches_.empty() || ending_ || done_ || !status_.ok(); });
    if (ending_ || done_ || !status_.ok()) return;
    const Touch touch = std::move(touches_.front());
    touches_.pop_front();
    ++answering_;
    lock.unlock();
    const Status status = AnswerTouch(touch);
    if (!status.ok()) return Fail(status);
    if (touch.space->missing_bytes() == 0) WakeWatcher();
    lock.lock();
    --answering_;
    const auto now = Clock::now();
    quiet_ = now + (now < fill_began_ + kFirstPauseMax ? kFirstQuiet : kQuiet);
  }
}

Status LazyRestore::AnswerTouch(const Touch& touch) {
  LazySpace* const space = touch.space.get();
  const auto piece = space->MissingAround(touch.address, kTouchBlockBytes);
  if (!piece) return space->PlaceZeros(touch.address);
  const uint64_t touched = piece->origin + (touch.address - piece->address);
  return memory_->VisitTouched(
      space->pid(), touched, piece->origin, piece->bytes, [&](const MemoryPart& part) {
        // While CRIU waits for this page it maps none beside it.
        return space->Place(PartOf(*piece, part), part.bytes, LazySpace::IfUnmapped::kLeave);
      });
}

void LazyRestore::GiveWay() {
  std::unique_lock lock(mutex_);
  const auto began = Clock::now();
  const auto latest = std::max(began + kPauseMax, fill_began_ + kFirstPauseMax);
  for (auto now = began; give_way_ && now < latest && !ending_ && status_.ok();
       now = Clock::now()) {
    const bool waiting = answering_ != 0 || !touches_.empty();
    if (!waiting && now >= quiet_) return;
    changed_.wait_until(lock, std::min(latest, waiting ? now + kQuiet : quiet_));
  }
}

std::optional<std::pair<LazyRestore::Space, LazyRange>> LazyRestore::NextToFill() {
  std::unique_lock lock(mutex_);
  while (!ending_ && !done_ && status_.ok()) {
    for (const Space& space : spaces_) {
      if (const auto piece = space->NextToFill(kFillBytes)) return std::pair(space, *piece);
    }
    // Others are at the last pieces; a fork or a move may bring new ones.
    changed_.wait(lock);
  }
  return std::nullopt;
}

void LazyRestore::FillSpaces() {
  uint64_t filled = kFillBetweenPauses;
  while (const auto next = NextToFill()) {
    const auto& [space, piece] = *next;
    const Status status = memory_->VisitLazy(
        space->pid(), piece.origin, piece.bytes,
        [this, &filled, &to = *space, &around = piece](const MemoryPart& part) {
          if (filled >= kFillBetweenPauses) {
            GiveWay();
            filled = 0;
          }
          filled += part.length;
          return to.Place(PartOf(around, part), part.bytes, LazySpace::IfUnmapped::kWait);
        });
    space->Filled();
    if (!status.ok()) return Fail(status);
    if (space->missing_bytes() == 0) WakeWatcher();
    changed_.notify_all();
  }
}

}  // namespace snapstore::agent
