// IoEngine: many reads and writes in flight from one thread.
//
// Two backends serve one interface: io_uring (axboe/liburing) and a pool of threads that call
// pread/pwrite. IoEngine::Create probes the kernel; where io_uring is forbidden (seccomp in
// containers, kernel.io_uring_disabled) it falls back, and backend_reason() says why in one line.
//
// Use: fill IoRequest objects you own, Submit them, Wait for completions. A request and its buffer
// must stay alive and untouched until it is returned by Wait. Requests in flight are not ordered:
// wait for writes before the fsync that is to cover them.
//
// Thread safety: none; an engine belongs to one thread at a time and changes hands only with
// nothing in flight (the kernel cancels what a thread that ends had submitted). Make one per
// pipeline thread.
#ifndef SNAPSTORE_BASE_IO_ENGINE_H_
#define SNAPSTORE_BASE_IO_ENGINE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "snapstore/status.h"

namespace snapstore {

struct IoRequest {
  enum class Op : uint8_t { kRead, kWrite, kFsync };

  Op op = Op::kRead;
  int fd = -1;
  uint64_t offset = 0;
  uint8_t* data = nullptr;  // read into, or written from
  size_t length = 0;
  void* user = nullptr;  // the caller's, untouched

  // Set on completion. Bytes moved: less than `length` only for a read that met end of file.
  size_t transferred = 0;
  int error_number = 0;  // 0, or the errno of the failure
};

enum class IoBackend { kAuto, kUring, kThreads };

struct IoOptions {
  IoBackend backend = IoBackend::kAuto;  // kAuto: io_uring if the probe succeeds, else threads
  uint32_t depth = 64;                   // requests in flight at most
  uint32_t threads = 4;                  // of the thread backend
};

class IoEngine {
 public:
  // SNAPSTORE_IO=uring|threads|auto in the environment decides what kAuto means.
  // Fails when io_uring is demanded and not to be had (Unsupported, with the reason), when no
  // thread can be started, or with InvalidArgument for a depth over 4096, threads over 256, none of
  // either, or another word in SNAPSTORE_IO.
  static Result<std::unique_ptr<IoEngine>> Create(const IoOptions& options);

  // REQUIRES: nothing in flight (checked): Wait(in_flight(), …) first, also on error paths.
  virtual ~IoEngine() = default;

  // Queues one request; it may start only with a later Submit or with Wait. After InvalidArgument
  // (a range that no file can have) it is not in flight. REQUIRES: in_flight() < depth().
  virtual Status Submit(IoRequest* request) = 0;

  // Blocks until at least `count_min` requests are done (all of them if fewer are in flight) and
  // appends every finished request to `done`, in order of completion. Errors of single requests are
  // in error_number; a failing Status means the engine itself is broken.
  virtual Status Wait(size_t count_min, std::vector<IoRequest*>* done) = 0;

  // Reads into `memory` from now on need no pinning of pages each; only a hint, which a low limit
  // of locked memory may forbid. `memory` must outlive the engine. Call once.
  virtual void UseMemory(MutableByteSpan memory) { (void)memory; }

  virtual uint32_t depth() const = 0;
  virtual size_t in_flight() const = 0;
  virtual IoBackend backend() const = 0;  // never kAuto
  // Why the thread backend was taken, one line; empty for io_uring or when it was asked for.
  virtual std::string backend_reason() const = 0;
};

// Whether io_uring can be set up and offers read, write and fsync; the reason if not.
Status ProbeIoUring();

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_IO_ENGINE_H_
