#include "tools/snapstore/mount/fuse_server.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/mount/fuse_operations.h"
#include "tools/snapstore/mount/mount_point.h"

namespace snapstore::cli {
namespace {

// Ends a blocking read of a worker thread, nothing else.
constexpr int kWakeSignal = SIGUSR1;
constexpr std::chrono::milliseconds kWakeInterval{10};
// Requests that are being answered when the mount ends have this long.
constexpr std::chrono::seconds kDrainTime{20};
constexpr uint64_t kKernelReadAhead = 1 << 20;

extern "C" void OnWake(int) {}

// What libfuse has to complain about, instead of printing it.
std::mutex fuse_message_mutex;
std::string fuse_message;  // the last one

void KeepFuseMessage(fuse_log_level, const char* format, va_list arguments) {
  char text[512];
  vsnprintf(text, sizeof(text), format, arguments);
  std::string line(text);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  if (line.starts_with("fuse: ")) line.erase(0, 6);
  const std::lock_guard lock(fuse_message_mutex);
  fuse_message = line;
}

Status FuseFailure(const std::string& what) {
  const std::lock_guard lock(fuse_message_mutex);
  return Status::Io(fuse_message.empty() ? what : what + ": " + fuse_message);
}

// A value inside a list of mount options.
std::string OptionValue(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

Status CatchWakeSignal() {
  struct sigaction action {};
  action.sa_handler = OnWake;
  sigemptyset(&action.sa_mask);  // no SA_RESTART: reads end with EINTR
  if (sigaction(kWakeSignal, &action, nullptr) != 0) return Status::FromErrno(errno, "sigaction");
  return {};
}

class FuseServerImpl final : public FuseServer {
 public:
  FuseServerImpl(MountedTree* tree, std::string directory, const FuseServerOptions& options)
      : directory_(std::move(directory)), options_(options), log_(options.report) {
    context_.tree = tree;
    context_.log = &log_;
    context_.allow_other = options.allow_other;
    context_.threads = options.threads;
    context_.ready = [this] { OnReady(); };
  }

  ~FuseServerImpl() override {
    if (session_ == nullptr) return;
    if (mounted_) (void)DetachMount(directory_);
    fuse_session_destroy(session_);
  }

  Status Start() {
    ended_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!ended_.valid()) return Status::FromErrno(errno, "eventfd");
    SNAP_RETURN_IF_ERROR(CatchWakeSignal());
    fuse_set_log_func(KeepFuseMessage);
    std::string list =
        "ro,nosuid,nodev,noatime,subtype=snapstore,fsname=" + OptionValue(options_.source);
    if (options_.allow_other) list += ",allow_other,default_permissions";
    std::string program = "snapstore";
    std::string flag = "-o";
    char* arguments[] = {program.data(), flag.data(), list.data(), nullptr};
    fuse_args args = FUSE_ARGS_INIT(3, arguments);
    session_ = fuse_session_new(&args, &FuseOperations(), sizeof(fuse_lowlevel_ops), &context_);
    fuse_opt_free_args(&args);
    if (session_ == nullptr) return FuseFailure("could not set up FUSE");
    if (fuse_session_mount(session_, directory_.c_str()) != 0) {
      return FuseFailure("could not mount at " + directory_);
    }
    mounted_ = true;
    return {};
  }

  Status Run(const std::function<void()>& ready) override {
    ready_ = ready;
    std::vector<std::thread> threads;
    running_ = options_.threads;
    for (unsigned i = 0; i < options_.threads; ++i) threads.emplace_back([this] { Serve(); });
    SetKernelReadAhead(directory_, kKernelReadAhead);
    Status status = WaitReadable(ended_.get());
    if (status.Is(StatusCode::kCancelled)) {
      // First the name: nobody is left with a mount that answers no more, even if requests hang.
      status = DetachMount(directory_);
    }
    mounted_ = false;
    AbandonRequests();
    fuse_session_exit(session_);
    const auto deadline = std::chrono::steady_clock::now() + kDrainTime;
    while (running_ > 0 && std::chrono::steady_clock::now() < deadline) {
      for (std::thread& thread : threads) pthread_kill(thread.native_handle(), kWakeSignal);
      std::this_thread::sleep_for(kWakeInterval);
    }
    if (running_ > 0) {
      // A store that hangs inside the kernel cannot be waited for, nor taken apart under a thread.
      options_.report("mount", Status::Timeout("unmounted, while requests to the store hang"));
      _exit(EXIT_FAILURE);
    }
    for (std::thread& thread : threads) thread.join();
    return status;
  }

 private:
  void OnReady() {
    if (ready_) ready_();
  }

  void Serve() {
    fuse_buf buffer{};
    while (fuse_session_exited(session_) == 0) {
      const int got = fuse_session_receive_buf(session_, &buffer);
      if (got == -EINTR || got == -EAGAIN) continue;
      if (got <= 0) break;
      fuse_session_process_buf(session_, &buffer);
    }
    free(buffer.mem);  // NOLINT: libfuse allocates it so
    fuse_session_exit(session_);
    if (--running_ == 0 || !woken_.exchange(true)) {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = write(ended_.get(), &one, sizeof(one));
    }
  }

  const std::string directory_;
  const FuseServerOptions options_;
  RequestLog log_;
  FuseContext context_;
  std::function<void()> ready_;
  UniqueFd ended_;  // readable once a worker has ended
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  std::atomic<unsigned> running_ = 0;
  std::atomic<bool> woken_ = false;
};

}  // namespace

Result<std::unique_ptr<FuseServer>> FuseServer::Mount(MountedTree* tree,
                                                      const std::string& directory,
                                                      const FuseServerOptions& options) {
  auto server = std::make_unique<FuseServerImpl>(tree, directory, options);
  SNAP_RETURN_IF_ERROR(server->Start());
  return std::unique_ptr<FuseServer>(std::move(server));
}

}  // namespace snapstore::cli
