#include "base/io_engine.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "base/internal/thread_engine.h"
#include "base/internal/uring_engine.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr uint32_t kDepthMax = 4096;
constexpr uint32_t kThreadsMax = 256;

// What SNAPSTORE_IO asks for; kAuto when it is unset.
Result<IoBackend> BackendOfEnvironment() {
  const char* const text = std::getenv("SNAPSTORE_IO");
  const std::string_view value = text == nullptr ? "" : text;
  if (value.empty() || value == "auto") return IoBackend::kAuto;
  if (value == "uring") return IoBackend::kUring;
  if (value == "threads") return IoBackend::kThreads;
  return Status::InvalidArgument(
      fmt::format("SNAPSTORE_IO is '{}'; it may be uring, threads or auto", value));
}

}  // namespace

Result<std::unique_ptr<IoEngine>> IoEngine::Create(const IoOptions& options) {
  if (options.depth == 0 || options.depth > kDepthMax || options.threads == 0 ||
      options.threads > kThreadsMax) {
    return Status::InvalidArgument(
        fmt::format("I/O engine: depth {} (1 to {}), threads {} (1 to {})", options.depth,
                    kDepthMax, options.threads, kThreadsMax));
  }
  IoBackend backend = options.backend;
  if (backend == IoBackend::kAuto) {
    SNAP_ASSIGN_OR_RETURN(backend, BackendOfEnvironment());
  }
  if (backend == IoBackend::kThreads) return internal::NewThreadEngine(options, "");
  Result<std::unique_ptr<IoEngine>> uring = internal::NewUringEngine(options);
  if (uring.ok() || backend == IoBackend::kUring) return uring;
  return internal::NewThreadEngine(options, uring.status().message());
}

Status ProbeIoUring() {
  constexpr uint32_t kProbeDepth = 4;
  const Result<std::unique_ptr<IoEngine>> engine =
      internal::NewUringEngine({.backend = IoBackend::kUring, .depth = kProbeDepth});
  return engine.status();
}

}  // namespace snapstore
