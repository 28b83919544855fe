#include "agent/image_serve.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "agent/stream_protocol.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr const char* kServeSocketName = "/streamer-serve.sock";

}  // namespace

Result<std::unique_ptr<ImageServe>> ImageServe::Create(const std::string& directory,
                                                       ImageSource* source) {
  std::unique_ptr<ImageServe> serve(new ImageServe(directory, source));
  SNAP_ASSIGN_OR_RETURN(serve->listening_, ListenUnix(directory + kServeSocketName));
  return serve;
}

ImageServe::~ImageServe() {
  for (std::thread& writer : writers_) {
    if (writer.joinable()) writer.join();
  }
  (void)unlink((directory_ + kServeSocketName).c_str());
}

void ImageServe::Fail(const Status& status) {
  std::lock_guard lock(mutex_);
  if (first_error_.ok()) first_error_ = status;
}

Status ImageServe::HandleRequest() {
  SNAP_ASSIGN_OR_RETURN(std::optional<std::string> name, ReadImageRequest(connection_.get()));
  if (!name) {
    connection_.Reset();
    return Status::Ok();
  }
  const bool exists = source_->Has(*name);
  SNAP_RETURN_IF_ERROR(SendImageReply(connection_.get(), exists));
  if (!exists) return Status::Ok();
  SNAP_ASSIGN_OR_RETURN(UniqueFd pipe, ReceiveDescriptor(connection_.get()));
  EnlargePipe(pipe.get());
  writers_.emplace_back([this, image = std::move(*name), fd = std::move(pipe)]() mutable {
    const Status status = source_->WriteTo(image, fd.get());
    // A reader that has seen enough is no error of ours.
    if (!status.ok() && status.error_number() != EPIPE) Fail(status.WithContext(image));
    fd.Reset();
  });
  return Status::Ok();
}

Status ImageServe::Run(int criu_pidfd, StageHook* hook, const std::function<Status()>& at_hook) {
  while (true) {
    const int stream = connection_.valid() ? connection_.get() : listening_.get();
    // A negative descriptor is passed over.
    pollfd fds[3] = {{criu_pidfd, POLLIN, 0},
                     {stream, POLLIN, 0},
                     {hook != nullptr ? hook->fd() : -1, POLLIN, 0}};
    if (poll(fds, 3, -1) < 0) {
      if (errno == EINTR) continue;
      Fail(Status::FromErrno(errno, "wait for CRIU"));
      break;
    }
    if (stream >= 0 && fds[1].revents != 0) {
      if (connection_.valid()) {
        if (Status status = HandleRequest(); !status.ok()) {
          Fail(status);
          connection_.Reset();
        }
      } else {
        auto accepted = AcceptUnix(listening_.get());
        listening_.Reset();
        if (accepted.ok()) {
          connection_ = std::move(*accepted);
        } else {
          Fail(accepted.status());
        }
      }
      continue;
    }
    if (fds[2].revents != 0 && hook->Waits()) {
      const Status status = at_hook();
      if (!status.ok()) Fail(status);
      hook->Answer(status.ok());
      continue;
    }
    if (fds[0].revents != 0) break;
  }
  connection_.Reset();
  listening_.Reset();
  // CRIU has ended and with it the readers of all pipes: the writers end, too.
  for (std::thread& writer : writers_) writer.join();
  writers_.clear();
  std::lock_guard lock(mutex_);
  return first_error_;
}

}  // namespace snapstore::agent
