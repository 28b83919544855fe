#include "agent/image_capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/checkpoint_image.h"
#include "agent/stream_protocol.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr const char* kCaptureSocketName = "/streamer-capture.sock";
// CRIU writes it last; without it the stream was cut short.
constexpr std::string_view kLastImage = "inventory.img";
// Reads from one pipe before the others get their turn.
constexpr int kReadsPerTurn = 16;
constexpr size_t kSpliceBytes = 1 << 20;

}  // namespace

Result<std::unique_ptr<ImageCapture>> ImageCapture::Create(const std::string& directory,
                                                           Arena* arena, const CapturePlan* plan) {
  std::unique_ptr<ImageCapture> capture(new ImageCapture(directory, arena, plan));
  SNAP_RETURN_IF_ERROR(capture->SetUp());
  return capture;
}

ImageCapture::~ImageCapture() { (void)unlink((directory_ + kCaptureSocketName).c_str()); }

Status ImageCapture::SetUp() {
  SNAP_ASSIGN_OR_RETURN(hook_, StageHook::Create(directory_, "post-dump"));
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return Status::FromErrno(errno, "make an epoll descriptor");
  SNAP_ASSIGN_OR_RETURN(null_, snapstore::OpenFile("/dev/null", O_WRONLY));
  SNAP_ASSIGN_OR_RETURN(listening_, ListenUnix(directory_ + kCaptureSocketName));
  SNAP_RETURN_IF_ERROR(Watch(listening_.get()));
  return Watch(hook_->fd());
}

Status ImageCapture::Watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return Status::FromErrno(errno, "watch a descriptor");
  }
  return Status::Ok();
}

Status ImageCapture::HandleRequest() {
  SNAP_ASSIGN_OR_RETURN(std::optional<std::string> name, ReadImageRequest(connection_.get()));
  if (!name) {
    connection_.Reset();
    return Status::Ok();
  }
  SNAP_ASSIGN_OR_RETURN(UniqueFd pipe, ReceiveDescriptor(connection_.get()));
  EnlargePipe(pipe.get());
  const int flags = fcntl(pipe.get(), F_GETFL);
  if (flags < 0 || fcntl(pipe.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return Status::FromErrno(errno, fmt::format("set up the pipe for {}", *name));
  }
  const int fd = pipe.get();
  SNAP_RETURN_IF_ERROR(Watch(fd));
  const bool let_go = IsLetGo(*name);
  open_.emplace(fd, OpenFile{std::move(pipe), ArenaWriter(arena_, std::move(*name)), let_go});
  return Status::Ok();
}

// CRIU opens the pages of a page map right after it. Should that ever change, whoever completes the
// files finds out: page maps name their pages.
bool ImageCapture::IsLetGo(const std::string& name) {
  if (IsPagemapName(name)) last_pagemap_ = name;
  return plan_ != nullptr && IsPagesName(name) && plan_->let_go.contains(last_pagemap_);
}

Status ImageCapture::LetGo(std::map<int, OpenFile>::iterator file) {
  for (int turn = 0; turn < kReadsPerTurn; ++turn) {
    const ssize_t gone = splice(file->first, nullptr, null_.get(), nullptr, kSpliceBytes,
                                SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (gone < 0 && errno == EINTR) continue;
    if (gone < 0 && errno == EAGAIN) return Status::Ok();
    if (gone < 0) return Status::FromErrno(errno, "pass an image by");
    if (gone == 0) {
      files_.push_back(file->second.writer.Finish());
      files_.back().size = file->second.bytes_gone;
      files_.back().only_changed = true;
      open_.erase(file);
      return Status::Ok();
    }
    file->second.bytes_gone += static_cast<uint64_t>(gone);
  }
  return Status::Ok();
}

Status ImageCapture::ReadPipe(std::map<int, OpenFile>::iterator file) {
  if (file->second.let_go) return LetGo(file);
  ArenaWriter& writer = file->second.writer;
  for (int turn = 0; turn < kReadsPerTurn; ++turn) {
    const std::span<uint8_t> space = writer.Space();
    if (space.empty()) {
      return arena_->Full("the application's memory");
    }
    const ssize_t got = read(file->first, space.data(), space.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Status::Ok();
    if (got < 0) return Status::FromErrno(errno, "read an image from CRIU");
    if (got == 0) {
      files_.push_back(writer.Finish());
      open_.erase(file);
      return Status::Ok();
    }
    writer.Advance(static_cast<uint64_t>(got));
  }
  return Status::Ok();
}

Status ImageCapture::HandleEvent(int fd) {
  if (fd == listening_.get()) {
    SNAP_ASSIGN_OR_RETURN(connection_, AcceptUnix(listening_.get()));
    listening_.Reset();
    return Watch(connection_.get());
  }
  if (fd == connection_.get()) return HandleRequest();
  if (fd == hook_->fd()) {
    (void)hook_->Waits();
    return Status::Ok();
  }
  // A descriptor may have been closed by an event handled just before this one.
  const auto file = open_.find(fd);
  return file == open_.end() ? Status::Ok() : ReadPipe(file);
}

bool ImageCapture::RequestWaits() const {
  if (!connection_.valid()) return listening_.valid();
  uint8_t byte = 0;
  // At the end of the stream this is 0: nothing more will come.
  return recv(connection_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

Status ImageCapture::FinishFreeze(const std::function<Status()>& while_frozen) {
  const bool complete = std::any_of(files_.begin(), files_.end(),
                                    [](const ArenaFile& f) { return f.name == kLastImage; });
  if (!complete) return Status::Corruption("CRIU's image stream ended without an inventory");
  if (plan_ != nullptr && plan_->complete) SNAP_RETURN_IF_ERROR(plan_->complete(&files_));
  SNAP_RETURN_IF_ERROR(while_frozen());
  frozen_done_ = true;
  hook_->Answer(true);
  return Status::Ok();
}

void ImageCapture::Abort() {
  // CRIU meets EPIPE, resumes the application and ends; it is never killed, for then the
  // application's connections would stay locked.
  aborted_ = true;
  open_.clear();
  connection_.Reset();
  listening_.Reset();
  hook_->Answer(false);
}

Status ImageCapture::HandleEvents(std::span<const epoll_event> events, int criu_pidfd) {
  Status status;
  for (const epoll_event& event : events) {
    if (event.data.fd == criu_pidfd) {
      criu_ended_ = true;
      (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, criu_pidfd, nullptr);
    } else if (status.ok() && !aborted_) {
      status = HandleEvent(event.data.fd);
    }
  }
  return status;
}

Status ImageCapture::Run(int criu_pidfd, const std::function<Status()>& while_frozen,
                         const std::function<void()>& kill_criu, const Patience& patience) {
  SNAP_RETURN_IF_ERROR(Watch(criu_pidfd));
  Status result;
  std::array<epoll_event, 16> events{};
  // What CRIU sent before it ended is still looked at: it may say why.
  auto unread = [this] {
    return !aborted_ && (!open_.empty() || (connection_.valid() && !frozen_done_));
  };
  while (!criu_ended_ || unread()) {
    const bool ending = aborted_ || frozen_done_;
    const auto limit = ending ? patience.end : patience.silence;
    const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 static_cast<int>(limit.count()));
    if (ready < 0 && errno == EINTR) continue;
    Status status;
    if (ready < 0) {
      status = Status::FromErrno(errno, "wait for CRIU");
    } else if (ready == 0 && ending) {
      status = Status::Timeout("CRIU hangs");
      kill_criu();
    } else if (ready == 0) {
      status = Status::Timeout(
          fmt::format("CRIU has sent nothing for {} seconds", limit.count() / 1000));
    } else {
      status = HandleEvents({events.data(), static_cast<size_t>(ready)}, criu_pidfd);
    }
    if (status.ok() && hook_->Waits() && !aborted_ && open_.empty() && !RequestWaits()) {
      status = FinishFreeze(while_frozen);
    }
    // A hook that comes only after the abort must be told as well.
    if (aborted_) hook_->Answer(false);
    if (!status.ok() && !aborted_) {
      result = status;
      Abort();
    }
  }
  if (result.ok() && !frozen_done_) {
    return Status::Cancelled("CRIU ended before the dump was complete");
  }
  return result;
}

}  // namespace snapstore::agent
