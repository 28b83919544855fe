#include "base/internal/uring_engine.h"

#include <fmt/format.h>
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "base/check.h"
#include "base/file.h"
#include "base/internal/request_step.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

// Requests handed to the kernel at once, so that it starts to work before the caller waits.
constexpr size_t kSubmitBatch = 16;

// A kernel short of memory refuses submissions for a moment; after this many pauses of a
// millisecond it counts as broken.
constexpr int kBusyPausesMax = 5000;

std::string ReadProc(const char* path) {
  constexpr size_t kProcBytesMax = size_t{64} << 10;
  const Result<Bytes> bytes = ReadWholeFile(path, kProcBytesMax);
  return bytes.ok() ? std::string(AsText(*bytes)) : std::string();
}

Status Refused(int outcome) {
  return Status::Unsupported(ExplainUringFailure(
      -outcome, ReadProc("/proc/sys/kernel/io_uring_disabled"), ReadProc("/proc/self/status")));
}

Status CheckOperations(io_uring* ring) {
  constexpr struct {
    int op;
    std::string_view name;
  } kNeeded[] = {{IORING_OP_READ, "read"}, {IORING_OP_WRITE, "write"}, {IORING_OP_FSYNC, "fsync"}};
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(
      io_uring_get_probe_ring(ring), io_uring_free_probe);
  if (probe == nullptr) {
    return Status::Unsupported("io_uring: the kernel is too old to list its operations");
  }
  for (const auto& needed : kNeeded) {
    if (io_uring_opcode_supported(probe.get(), needed.op) == 0) {
      return Status::Unsupported(fmt::format("io_uring: the kernel lacks {}", needed.name));
    }
  }
  return Status::Ok();
}

class UringEngine final : public IoEngine {
 public:
  explicit UringEngine(uint32_t depth) : depth_(depth) {}

  ~UringEngine() override {
    // The kernel would go on writing into buffers that are about to be freed.
    SNAP_CHECK(in_flight_ == 0);
    if (ready_) io_uring_queue_exit(&ring_);
  }

  Status Start() {
    const int outcome = io_uring_queue_init(depth_, &ring_, 0);
    if (outcome < 0) return Refused(outcome);
    ready_ = true;
    SNAP_RETURN_IF_ERROR(CheckOperations(&ring_));
    return TryOnce();
  }

  Status Submit(IoRequest* request) override {
    SNAP_CHECK(in_flight_ < depth_);
    SNAP_RETURN_IF_ERROR(ValidateRequest(*request));
    ResetResults(request);
    Prepare(request);
    ++in_flight_;
    if (io_uring_sq_ready(&ring_) < std::min<size_t>(depth_, kSubmitBatch)) return Status::Ok();
    // Requests refused for the moment stay in the ring until Wait.
    const int outcome = io_uring_submit(&ring_);
    return outcome < 0 && !IsPassing(outcome) ? Broken(outcome) : Status::Ok();
  }

  Status Wait(size_t count_min, std::vector<IoRequest*>* done) override {
    const size_t wanted = std::min(count_min, in_flight_);
    size_t got = 0;
    for (int pauses = 0; got < wanted || io_uring_sq_ready(&ring_) > 0;) {
      const size_t missing = wanted > got ? wanted - got : 0;
      const int outcome = missing > 0 && io_uring_cq_ready(&ring_) < missing
                              ? io_uring_submit_and_wait(&ring_, static_cast<unsigned>(missing))
                              : io_uring_submit(&ring_);
      if (outcome < 0 && outcome != -EINTR) {
        if (!IsPassing(outcome) || ++pauses > kBusyPausesMax) return Broken(outcome);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      got += Reap(done);
    }
    Reap(done);
    return Status::Ok();
  }

  void UseMemory(MutableByteSpan memory) override {
    const iovec vector{memory.data(), memory.size()};
    if (io_uring_register_buffers(&ring_, &vector, 1) == 0) registered_ = memory;
  }

  uint32_t depth() const override { return depth_; }
  size_t in_flight() const override { return in_flight_; }
  IoBackend backend() const override { return IoBackend::kUring; }
  std::string backend_reason() const override { return {}; }

 private:
  static bool IsPassing(int outcome) {
    return outcome == -EINTR || outcome == -EAGAIN || outcome == -EBUSY;
  }

  static Status Broken(int outcome) { return Status::FromErrno(-outcome, "io_uring_enter"); }

  bool IsRegistered(const uint8_t* data, size_t length) const {
    return data >= registered_.data() && data + length <= registered_.data() + registered_.size();
  }

  // A filter may let a ring be made and refuse to enter it.
  Status TryOnce() {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    SNAP_CHECK(entry != nullptr);
    io_uring_prep_nop(entry);
    int outcome = io_uring_submit_and_wait(&ring_, 1);
    io_uring_cqe* completion = nullptr;
    if (outcome >= 0) outcome = io_uring_wait_cqe(&ring_, &completion);
    if (outcome < 0) return Refused(outcome);
    io_uring_cqe_seen(&ring_, completion);
    return Status::Ok();
  }

  void Prepare(IoRequest* request) {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    // Entries in use never exceed the requests in flight, for which the ring has room.
    SNAP_CHECK(entry != nullptr);
    uint8_t* const data = request->data + request->transferred;
    const uint64_t at = request->offset + request->transferred;
    const auto length = static_cast<unsigned>(StepLength(*request));
    switch (request->op) {
      case IoRequest::Op::kRead:
        if (IsRegistered(data, length)) {
          io_uring_prep_read_fixed(entry, request->fd, data, length, at, /*buf_index=*/0);
        } else {
          io_uring_prep_read(entry, request->fd, data, length, at);
        }
        break;
      case IoRequest::Op::kWrite:
        io_uring_prep_write(entry, request->fd, data, length, at);
        break;
      case IoRequest::Op::kFsync:
        io_uring_prep_fsync(entry, request->fd, 0);
        break;
    }
    io_uring_sqe_set_data(entry, request);
  }

  // Takes what is complete; appends finished requests and queues the rest of unfinished ones.
  size_t Reap(std::vector<IoRequest*>* done) {
    io_uring_cqe* completions[kSubmitBatch];
    size_t finished = 0;
    for (;;) {
      const unsigned count = io_uring_peek_batch_cqe(&ring_, completions, kSubmitBatch);
      for (unsigned i = 0; i < count; ++i) {
        auto* const request = static_cast<IoRequest*>(io_uring_cqe_get_data(completions[i]));
        int64_t outcome = completions[i]->res;
        // The ring answers so for files opened with O_NONBLOCK, where pread would wait.
        if (outcome == -EAGAIN) outcome = RunStep(*request);
        if (FinishStep(request, outcome)) {
          done->push_back(request);
          --in_flight_;
          ++finished;
        } else {
          Prepare(request);
        }
      }
      io_uring_cq_advance(&ring_, count);
      if (count == 0) return finished;
    }
  }

  const uint32_t depth_;
  io_uring ring_{};
  bool ready_ = false;
  MutableByteSpan registered_;
  size_t in_flight_ = 0;
};

}  // namespace

Result<std::unique_ptr<IoEngine>> NewUringEngine(const IoOptions& options) {
  auto engine = std::make_unique<UringEngine>(options.depth);
  SNAP_RETURN_IF_ERROR(engine->Start());
  return std::unique_ptr<IoEngine>(std::move(engine));
}

std::string ExplainUringFailure(int error_number, std::string_view disabled_text,
                                std::string_view status_text) {
  const bool is_refusal = error_number == EPERM || error_number == EACCES || error_number == ENOSYS;
  const std::string_view disabled = disabled_text.substr(0, disabled_text.find('\n'));
  if (error_number == EPERM && !disabled.empty() && disabled != "0") {
    return fmt::format("io_uring is forbidden by kernel.io_uring_disabled={}", disabled);
  }
  if (is_refusal && status_text.find("\nSeccomp:\t2") != std::string_view::npos) {
    return "io_uring is forbidden by a seccomp filter, as in many containers";
  }
  if (error_number == ENOSYS) return "io_uring is not built into this kernel";
  const std::string cause = std::generic_category().message(error_number);
  if (error_number == ENOMEM) {
    return fmt::format(
        "io_uring cannot be set up: {} (the locked-memory limit, ulimit -l, may be too low)",
        cause);
  }
  return fmt::format("io_uring cannot be set up: {}", cause);
}

}  // namespace snapstore::internal
