// Sequential reads of one file through IoEngine.
//
//   io_bench [Google Benchmark's options]     SNAPSTORE_BENCH_FILE=FILE to read a file of your own
//
// BM_IoEngineRead/<backend>/<depth>/<direct>: 1 MiB requests; backend 1 is io_uring, 2 the threads;
// direct 0 reads through the page cache, 1 past it (O_DIRECT).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/file.h"
#include "base/io_engine.h"
#include "base/random.h"

namespace snapstore {
namespace {

constexpr size_t kRequestBytes = 1 << 20;
constexpr size_t kFileBytes = 512 << 20;
constexpr size_t kAlignment = 4096;

// The file to read: the user's, or one of random bytes that goes with this object.
class Input {
 public:
  Input() {
    const char* const given = std::getenv("SNAPSTORE_BENCH_FILE");
    is_own_ = given == nullptr;
    path_ = is_own_ ? (std::filesystem::temp_directory_path() / "snapstore-io-bench").string()
                    : std::string(given);
    if (is_own_) Fill();
  }
  ~Input() {
    if (is_own_) std::filesystem::remove(path_);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  const std::string& path() const { return path_; }

 private:
  void Fill() {
    Result<UniqueFd> file = OpenFile(path_, O_WRONLY | O_CREAT | O_TRUNC);
    SplitMix64 random(1);
    Bytes block(kRequestBytes);
    for (size_t at = 0; file.ok() && at < kFileBytes; at += block.size()) {
      for (size_t i = 0; i < block.size(); i += 8) StoreLe(&block[i], random.Next());
      if (!PwriteFull(file->get(), block, at, path_).ok()) return;
    }
    if (file.ok()) (void)SyncFd(file->get(), path_);  // or writing would go on while we measure
  }

  bool is_own_ = false;
  std::string path_;
};

struct Slot {
  explicit Slot(size_t bytes)
      : buffer(static_cast<uint8_t*>(std::aligned_alloc(kAlignment, bytes)), std::free) {}
  std::unique_ptr<uint8_t, void (*)(void*)> buffer;
  IoRequest request;
};

// Reads the file once; empty when all went well.
Status ReadOnce(IoEngine* engine, int fd, uint64_t size, std::vector<Slot>* slots) {
  std::vector<Slot*> free;
  for (Slot& slot : *slots) free.push_back(&slot);
  std::vector<IoRequest*> done;
  Status status;
  for (uint64_t next = 0; (next < size && status.ok()) || engine->in_flight() > 0;) {
    while (next < size && !free.empty() && status.ok()) {
      Slot* const slot = free.back();
      free.pop_back();
      slot->request = IoRequest();
      slot->request.fd = fd;
      slot->request.offset = next;
      slot->request.data = slot->buffer.get();
      slot->request.length = kRequestBytes;
      slot->request.user = slot;
      status = engine->Submit(&slot->request);
      next += kRequestBytes;
    }
    done.clear();
    if (Status waited = engine->Wait(1, &done); !waited.ok()) return waited;
    for (const IoRequest* const request : done) {
      if (request->error_number != 0) status = Status::FromErrno(request->error_number, "read");
      free.push_back(static_cast<Slot*>(request->user));
    }
  }
  return status;
}

void BM_IoEngineRead(benchmark::State& state) {
  static const Input input;
  const auto depth = static_cast<uint32_t>(state.range(1));
  const Result<UniqueFd> file =
      OpenFile(input.path(), O_RDONLY | (state.range(2) != 0 ? O_DIRECT : 0));
  IoOptions options;
  options.backend = static_cast<IoBackend>(state.range(0));
  options.depth = depth;
  Result<std::unique_ptr<IoEngine>> engine = IoEngine::Create(options);
  if (!file.ok() || !engine.ok()) {
    state.SkipWithError((file.ok() ? engine.status() : file.status()).message().c_str());
    return;
  }
  const auto size = static_cast<uint64_t>(std::filesystem::file_size(input.path()));
  std::vector<Slot> slots;
  for (uint32_t i = 0; i < depth; ++i) slots.emplace_back(kRequestBytes);
  for ([[maybe_unused]] const auto& iteration : state) {
    const Status status = ReadOnce(engine->get(), file->get(), size, &slots);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(size) * state.iterations());
}

BENCHMARK(BM_IoEngineRead)
    ->ArgsProduct({{static_cast<int>(IoBackend::kUring), static_cast<int>(IoBackend::kThreads)},
                   {1, 4, 16},
                   {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace snapstore
