#include "tools/snapstore_agent/bench_heap.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <sstream>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kReadsOfAnswer = 64;
constexpr uint64_t kFilesOfFill = 64 << 20;  // no file gives more: some are all alike inside
constexpr const char* kFillFrom = "/usr";

class Heap {
 public:
  static Result<std::unique_ptr<Heap>> Make(uint64_t bytes) {
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return Status::FromErrno(errno, "get memory for the heap");
    std::unique_ptr<Heap> heap(new Heap(static_cast<uint8_t*>(base), bytes));
    SNAP_RETURN_IF_ERROR(heap->Fill());
    return heap;
  }

  uint64_t pages() const { return bytes_ / kPage; }

  uint64_t ReadSome(uint64_t count) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; ++i) {
      const uint8_t* page = base_ + random_() % pages() * kPage;
      for (uint64_t at = 0; at < kPage; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        std::memcpy(&word, page + at, sizeof(word));
        sum += word;
      }
    }
    return sum;
  }

  // Different pages, in an order of no pattern.
  Status Dirty(uint64_t seed, uint64_t count, const std::string& folder) {
    SNAP_ASSIGN_OR_RETURN(const UniqueFd file,
                          OpenFile(folder + "/changed", O_WRONLY | O_CREAT | O_TRUNC, 0600));
    random_.seed(seed);
    count = std::min(count, pages());
    std::vector<bool> changed(pages());
    for (uint64_t done = 0; done < count;) {
      const uint64_t page = random_() % pages();
      if (changed[page]) continue;
      changed[page] = true;
      Change(page, seed, ++done);
      SNAP_RETURN_IF_ERROR(WriteFull(file.get(), ByteSpan(base_ + page * kPage, kPage), folder));
    }
    return Status::Ok();
  }

  uint64_t Work(std::chrono::milliseconds time, uint64_t count) {
    const Stopwatch watch;
    const double seconds = std::chrono::duration<double>(time).count();
    uint64_t changed = 0;
    uint64_t read = 0;
    constexpr uint64_t kTurn = 16;
    while (true) {
      const double now = watch.Seconds();
      if (now >= seconds) return read;
      sum_ = sum_ + ReadSome(kTurn);
      read += kTurn;
      const auto due = static_cast<uint64_t>(now / seconds * static_cast<double>(count));
      for (; changed < due; ++changed) Change(random_() % pages(), read, changed);
    }
  }

 private:
  Heap(uint8_t* base, uint64_t bytes) : base_(base), bytes_(bytes) {}

  // It takes the bytes of another one, with a mark that makes it a new one.
  void Change(uint64_t page, uint64_t seed, uint64_t number) {
    uint8_t* to = base_ + page * kPage;
    std::memmove(to, base_ + random_() % pages() * kPage, kPage);
    Mark(to, seed, number);
  }

  static void Mark(uint8_t* page, uint64_t seed, uint64_t number) {
    const std::array<uint64_t, 2> mark{seed, number};
    std::memcpy(page, mark.data(), sizeof(mark));
  }

  // What programs and libraries consist of is as good a likeness of a heap as there is everywhere.
  // Where it does not suffice it is taken once more, marked, so that no page is there twice.
  Status Fill() {
    uint64_t filled = 0;
    for (uint64_t turn = 0; filled < bytes_; ++turn) {
      const uint64_t before = filled;
      SNAP_RETURN_IF_ERROR(FillOnce(&filled));
      if (filled == before) {
        return Status::NotFound(fmt::format("{}: holds no files to fill a heap with", kFillFrom));
      }
      if (turn == 0) continue;
      for (uint64_t at = before / kPage * kPage; at < filled; at += kPage) {
        Mark(base_ + at, turn, at);
      }
    }
    return Status::Ok();
  }

  Status FillOnce(uint64_t* filled) {
    std::error_code error;
    std::filesystem::recursive_directory_iterator entry(
        kFillFrom, std::filesystem::directory_options::skip_permission_denied, error);
    if (error) return Status::FromErrno(error.value(), kFillFrom);
    for (; entry != std::filesystem::recursive_directory_iterator() && *filled < bytes_;
         entry.increment(error)) {
      if (!entry->is_regular_file(error) || entry->is_symlink(error)) continue;
      const Result<UniqueFd> file = OpenFile(entry->path(), O_RDONLY);
      if (!file.ok()) continue;
      const uint64_t room = std::min(bytes_ - *filled, kFilesOfFill);
      const Result<size_t> got =
          PreadFull(file->get(), MutableByteSpan(base_ + *filled, room), 0, kFillFrom);
      if (got.ok()) *filled += *got;
    }
    return Status::Ok();
  }

  uint8_t* const base_;
  const uint64_t bytes_;
  std::mt19937_64 random_;
  volatile uint64_t sum_ = 0;  // so that the reads are not optimized away
};

std::string AnswerTo(const std::string& line, const std::string& folder, Heap* heap) {
  std::istringstream words(line);
  std::string command;
  uint64_t first = 0;
  uint64_t second = 0;
  words >> command >> first >> second;
  if (command == "read") return fmt::format("ok {}\n", heap->ReadSome(kReadsOfAnswer));
  if (command == "dirty") {
    const Status status = heap->Dirty(first, second, folder);
    return status.ok() ? fmt::format("ok {}\n", second) : status.message() + "\n";
  }
  if (command == "work") {
    return fmt::format("ok {}\n", heap->Work(std::chrono::milliseconds(first), second));
  }
  return "unknown\n";
}

// Up to the end of the line, or of the stream.
std::string ReadLine(int fd) {
  std::string line;
  std::array<char, 128> bytes{};
  while (line.find('\n') == std::string::npos && line.size() < bytes.size()) {
    const ssize_t got = read(fd, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    line.append(bytes.data(), static_cast<size_t>(got));
  }
  return line;
}

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Listens on a port of loopback below those that the kernel gives to clients by itself: one that
// tries to connect while nobody listens might be given the very port, and be connected to itself.
Result<UniqueFd> ListenSomewhere(uint16_t* port) {
  constexpr uint16_t kFirstPort = 20000;
  constexpr uint16_t kPorts = 12000;
  constexpr int kAttempts = 100;
  std::random_device random;
  UniqueFd listening(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Connections that have just ended must not keep a restored process from its port.
  const int yes = 1;
  if (!listening.valid() ||
      setsockopt(listening.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0) {
    return Status::FromErrno(errno, "make a socket");
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    *port = static_cast<uint16_t>(kFirstPort + random() % kPorts);
    const sockaddr_in address = Loopback(*port);
    if (bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
        listen(listening.get(), SOMAXCONN) == 0) {
      return listening;
    }
  }
  return Status::FromErrno(errno, "listen on loopback");
}

Status ServeHeap(const std::string& folder, uint64_t bytes) {
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<Heap> heap, Heap::Make(bytes));
  uint16_t port = 0;
  SNAP_ASSIGN_OR_RETURN(const UniqueFd listening, ListenSomewhere(&port));
  SNAP_RETURN_IF_ERROR(ReplaceFile(folder + "/port", AsBytes(fmt::format("{}", port))));
  while (true) {
    const UniqueFd connection(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) continue;
    const std::string answer = AnswerTo(ReadLine(connection.get()), folder, heap.get());
    (void)!write(connection.get(), answer.data(), answer.size());
  }
}

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

}  // namespace

int RunBenchHeap(int argc, char** argv) {
  const std::span<char*> words(argv, static_cast<size_t>(argc));
  const auto bytes = words.size() == 3 ? ParseNumber<uint64_t>(words[2]) : std::nullopt;
  if (!bytes || *bytes < kPage) {
    fmt::print(stderr, "usage: snapstore-agent {} FOLDER BYTES\n", kBenchHeapCommand);
    return 2;
  }
  const Status status = ServeHeap(words[1], *bytes / kPage * kPage);
  fmt::print(stderr, "{}: {}\n", kBenchHeapCommand, status.message());
  return 1;
}

std::vector<std::string> BenchHeapCommandLine(const std::string& folder, uint64_t bytes) {
  std::error_code error;
  return {std::filesystem::read_symlink("/proc/self/exe", error).string(), kBenchHeapCommand,
          folder, fmt::format("{}", bytes)};
}

Result<uint64_t> HeapClient::Ask(const std::string& line) const {
  constexpr size_t kPortBytesMax = 16;
  SNAP_ASSIGN_OR_RETURN(const Bytes text, ReadWholeFile(folder_ + "/port", kPortBytesMax));
  const auto port = ParseNumber<uint16_t>(AsText(text));
  if (!port) return Status::Corruption(fmt::format("{}/port: is no port", folder_));
  const UniqueFd connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(*port);
  if (!connection.valid() ||
      connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Status::FromErrno(errno, "connect to the heap program");
  }
  SNAP_RETURN_IF_ERROR(WriteFull(connection.get(), AsBytes(line + "\n"), "the heap program"));
  const std::string answer = ReadLine(connection.get());
  if (answer.starts_with("ok ") && answer.ends_with('\n')) {
    const auto value = ParseNumber<uint64_t>(std::string_view(answer).substr(3, answer.size() - 4));
    if (value) return *value;
  }
  return Status::Io(fmt::format("the heap program answered '{}' to '{}'", answer, line));
}

Status HeapClient::WaitForAnswer(std::chrono::seconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const Result<uint64_t> answer = Ask("read");
    if (answer.ok()) return Status::Ok();
    if (std::chrono::steady_clock::now() > deadline) {
      return Status::Timeout(fmt::format("the heap program has not answered in {} s: {}",
                                         timeout.count(), answer.status().message()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Status HeapClient::Dirty(uint64_t seed, uint64_t pages) const {
  return Ask(fmt::format("dirty {} {}", seed, pages)).status();
}

Result<uint64_t> HeapClient::Work(std::chrono::milliseconds time, uint64_t pages_changed) const {
  return Ask(fmt::format("work {} {}", time.count(), pages_changed));
}

}  // namespace snapstore::agent
