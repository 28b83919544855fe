// A library that is preloaded into `criu dump` and has it pass over pages that the agent has
// already.
//
// CRIU asks the kernel by PAGEMAP_SCAN which pages of a frozen process to dump
// (criu/pagemap-cache.c of CRIU 4.0 and later). This asks in addition which of them were written
// since the agent had the kernel watch them (agent/page_scan.h). What was not, is watched, and is
// among the known pages is left out of the answer and noted in the file of hidden pages
// (filter_format.h), which exists from CRIU's first such question on.
//
// In doubt everything is shown, and then the dump is what it would be without this. Nothing here
// may fail CRIU or be noticed by it: no memory is allocated, no descriptor stays open, and there is
// no code that runs before CRIU asks. CRIU asks from one thread.
//
// Nothing is linked, not even the C library: its functions are found in whatever CRIU brings along,
// which may be newer or older than the one this was built with.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/criu_filter/filter_format.h"
#include "agent/page_scan_abi.h"

namespace {

using snapstore::agent::kPageIsFile;
using snapstore::agent::kPageIsGuard;
using snapstore::agent::kPageIsPresent;
using snapstore::agent::kPageIsSoftDirty;
using snapstore::agent::kPageIsSwapped;
using snapstore::agent::kPageIsWatched;
using snapstore::agent::kPageIsWritten;
using snapstore::agent::kPageIsZero;
using snapstore::agent::kPagemapScan;
using snapstore::agent::PagemapScanArgument;
using snapstore::agent::PageRegion;
namespace format = snapstore::agent::filter;

// CRIU asks for 32768 regions at most.
constexpr size_t kRegionsMax = 32768;
constexpr size_t kHiddenMax = 32768;
constexpr size_t kPathMax = 512;
// What is added to CRIU's question and taken out of the answer.
constexpr uint64_t kAdded = kPageIsWatched | kPageIsWritten;

PageRegion answer[kRegionsMax];
format::HiddenRange hidden[kHiddenMax];
char opened_path[kPathMax];
uint64_t hidden_bytes;  // of the file of hidden pages

enum class State { kNew, kReady, kOff };
State state = State::kNew;
const format::KnownProcess* processes;
uint64_t process_count;
const format::Range* ranges;

bool WriteAt(int fd, const void* bytes, size_t size, uint64_t offset) {
  return pwrite(fd, bytes, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// The agent's file of that name, -1 if it cannot be had.
int OpenNamed(const char* name, int flags) {
  const char* const directory = getenv(format::kDirectoryVariable);
  if (directory == nullptr) return -1;
  size_t length = 0;
  const char* const parts[] = {directory, name};
  for (const char* part : parts) {
    for (; *part != '\0'; ++part) {
      if (length + 1 == kPathMax) return -1;
      opened_path[length++] = *part;
    }
  }
  opened_path[length] = '\0';
  return open(opened_path, flags | O_CLOEXEC, 0600);
}

// Whether the file of known pages is one, and maps it.
bool MapKnown() {
  const int fd = OpenNamed(format::kKnownName, O_RDONLY);
  if (fd < 0) return false;
  const off_t size = lseek(fd, 0, SEEK_END);
  void* at = MAP_FAILED;
  if (size >= static_cast<off_t>(sizeof(format::KnownHead))) {
    at = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  }
  close(fd);
  if (at == MAP_FAILED) return false;
  const auto* const head = static_cast<const format::KnownHead*>(at);
  const uint64_t rest = static_cast<uint64_t>(size) - sizeof(*head);
  if (head->magic != format::kKnownMagic || head->processes > rest / sizeof(format::KnownProcess) ||
      head->ranges > rest / sizeof(format::Range) ||
      rest !=
          head->processes * sizeof(format::KnownProcess) + head->ranges * sizeof(format::Range)) {
    return false;
  }
  processes = reinterpret_cast<const format::KnownProcess*>(head + 1);
  process_count = head->processes;
  ranges = reinterpret_cast<const format::Range*>(processes + process_count);
  for (uint64_t i = 0; i < process_count; ++i) {
    if (processes[i].first > head->ranges ||
        processes[i].count > head->ranges - processes[i].first) {
      return false;
    }
  }
  return true;
}

bool Start() {
  if (!MapKnown()) return false;
  // The agent has removed an older one: nobody else's is written to.
  const int fd = OpenNamed(format::kHiddenName, O_WRONLY | O_CREAT | O_EXCL);
  if (fd < 0) return false;
  hidden_bytes = sizeof(format::kHiddenMagic);
  const bool made = WriteAt(fd, &format::kHiddenMagic, hidden_bytes, 0);
  close(fd);
  if (!made) unlink(opened_path);
  return made;
}

// The process whose page map this is, 0 if it is none.
uint64_t ProcessOf(int fd) {
  char link[40] = "/proc/self/fd/";
  size_t at = strlen(link);
  char digits[12];
  size_t count = 0;
  for (unsigned left = static_cast<unsigned>(fd); left != 0 || count == 0; left /= 10) {
    digits[count++] = static_cast<char>('0' + left % 10);
  }
  while (count > 0) link[at++] = digits[--count];
  link[at] = '\0';
  char path[64];
  constexpr char kBegin[] = "/proc/";
  constexpr char kEnd[] = "/pagemap";
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  if (length <= 0) return 0;
  path[length] = '\0';
  if (strncmp(path, kBegin, sizeof(kBegin) - 1) != 0) return 0;
  uint64_t pid = 0;
  const char* digit = path + sizeof(kBegin) - 1;
  for (; *digit >= '0' && *digit <= '9'; ++digit)
    pid = pid * 10 + static_cast<uint64_t>(*digit - '0');
  return strcmp(digit, kEnd) == 0 ? pid : 0;
}

const format::KnownProcess* FindProcess(uint64_t pid) {
  for (uint64_t i = 0; pid != 0 && i < process_count; ++i) {
    if (processes[i].pid == pid) return &processes[i];
  }
  return nullptr;
}

// Whether it is how CRIU asks which pages to dump. What else it asks is none of our business.
bool IsForDump(const PagemapScanArgument& asked) {
  return asked.size == sizeof(asked) && asked.flags == 0 && asked.max_pages == 0 &&
         asked.category_inverted == (kPageIsZero | kPageIsFile) &&
         asked.category_mask == (kPageIsZero | kPageIsFile) &&
         asked.category_anyof_mask == (kPageIsPresent | kPageIsSwapped) &&
         (asked.return_mask & ~(kPageIsSoftDirty | kPageIsGuard)) ==
             (kPageIsPresent | kPageIsSwapped) &&
         asked.vec != 0 && asked.vec_len != 0;
}

// Memory that was moved may carry marks as of pages not written though nobody watches it any more:
// older kernels leave them there.
bool MayBeHidden(const PageRegion& region) {
  return (region.categories & (kPageIsWatched | kPageIsWritten | kPageIsGuard)) == kPageIsWatched;
}

// Takes the known pages out of an answer. One that has become too long ends before its end. The
// kernel may come back to lower pages: CRIU, which goes upwards, ignores them, and so does this.
class Sieve {
 public:
  Sieve(const format::KnownProcess& process, PageRegion* shown, size_t shown_max)
      : pid_(process.pid),
        next_(ranges + process.first),
        last_(next_ + process.count),
        shown_(shown),
        shown_max_(shown_max) {}

  // False: there is no more room from `end` on.
  bool Add(PageRegion region) {
    if (region.end <= passed_) return true;
    if (region.start < passed_) region.start = passed_;
    passed_ = region.end;
    const uint64_t categories = region.categories & ~kAdded;
    if (!MayBeHidden(region)) return Show(region.start, region.end, categories);
    SkipTo(region.start);
    uint64_t at = region.start;
    for (; next_ != last_ && next_->begin < region.end; ++next_) {
      if (at < next_->begin && !Show(at, next_->begin, categories)) return false;
      at = at < next_->begin ? next_->begin : at;
      const uint64_t until = next_->end < region.end ? next_->end : region.end;
      if (!Hide(at, until)) return false;
      at = until;
      if (at == region.end) return true;
    }
    return at == region.end || Show(at, region.end, categories);
  }

  size_t shown() const { return shown_count_; }
  size_t hidden_count() const { return hidden_count_; }
  uint64_t end() const { return end_; }

 private:
  // To the first range that ends behind `address`: by halves, since a scan may begin anywhere.
  void SkipTo(uint64_t address) {
    size_t count = static_cast<size_t>(last_ - next_);
    while (count > 0) {
      const size_t half = count / 2;
      if (next_[half].end <= address) {
        next_ += half + 1;
        count -= half + 1;
      } else {
        count = half;
      }
    }
  }
  bool Show(uint64_t begin, uint64_t end, uint64_t categories) {
    if (shown_count_ != 0) {
      PageRegion& last = shown_[shown_count_ - 1];
      if (last.end == begin && last.categories == categories) {
        last.end = end;
        return true;
      }
    }
    if (shown_count_ == shown_max_) {
      end_ = begin;
      return false;
    }
    shown_[shown_count_++] = {begin, end, categories};
    return true;
  }
  bool Hide(uint64_t begin, uint64_t end) {
    if (hidden_count_ != 0 && hidden[hidden_count_ - 1].range.end == begin) {
      hidden[hidden_count_ - 1].range.end = end;
      return true;
    }
    if (hidden_count_ == kHiddenMax) {
      end_ = begin;
      return false;
    }
    hidden[hidden_count_++] = {pid_, {begin, end}};
    return true;
  }

  const uint64_t pid_;
  const format::Range* next_;
  const format::Range* const last_;
  PageRegion* const shown_;
  const size_t shown_max_;
  size_t shown_count_ = 0;
  size_t hidden_count_ = 0;
  uint64_t passed_ = 0;  // all below was given
  uint64_t end_ = 0;
};

// Whether the file tells now of what is hidden. If not, nothing more is ever hidden.
bool Note(size_t count) {
  const size_t size = count * sizeof(hidden[0]);
  const int fd = OpenNamed(format::kHiddenName, O_WRONLY);
  if (fd >= 0 && WriteAt(fd, hidden, size, hidden_bytes)) {
    close(fd);
    hidden_bytes += size;
    return true;
  }
  // The agent meets what is left here, and what it is wrong about, in CRIU's page map as well.
  if (fd >= 0) (void)!ftruncate(fd, static_cast<off_t>(hidden_bytes));
  if (fd >= 0) close(fd);
  state = State::kOff;
  return false;
}

long Scan(int fd, PagemapScanArgument* asked) {
  return syscall(SYS_ioctl, fd, kPagemapScan, asked);
}

// As CRIU asks, but for what the agent watches: whether a page is a file's is by far the dearest
// question, and watched memory, which is private and anonymous, has none. Returns as the system
// call, with the answer in `answer`.
long ScanWithMore(int fd, PagemapScanArgument* question) {
  question->return_mask |= kAdded;
  const PagemapScanArgument exact = *question;
  question->category_inverted = kPageIsZero;
  question->category_mask = kPageIsZero;
  const long count = Scan(fd, question);
  long watched = 0;
  while (watched < count && (answer[watched].categories & kPageIsWatched) != 0) ++watched;
  if (watched == count) return count;
  *question = exact;
  return Scan(fd, question);
}

long FilteredScan(int fd, PagemapScanArgument* asked, const format::KnownProcess& process) {
  auto* const shown =
      reinterpret_cast<PageRegion*>(asked->vec);  // NOLINT(performance-no-int-to-ptr)
  PagemapScanArgument question = *asked;
  question.vec = reinterpret_cast<uint64_t>(answer);
  if (question.vec_len > kRegionsMax) question.vec_len = kRegionsMax;
  const long count = ScanWithMore(fd, &question);
  if (count < 0) return Scan(fd, asked);
  asked->walk_end = question.walk_end;
  Sieve sieve(process, shown, asked->vec_len);
  for (long i = 0; i < count; ++i) {
    if (sieve.Add(answer[i])) continue;
    asked->walk_end = sieve.end();
    break;
  }
  if (sieve.hidden_count() == 0 || Note(sieve.hidden_count())) {
    return static_cast<long>(sieve.shown());
  }
  asked->walk_end = question.walk_end;
  for (long i = 0; i < count; ++i) {
    shown[i] = answer[i];
    shown[i].categories &= ~kAdded;
  }
  return count;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  auto* const asked = static_cast<PagemapScanArgument*>(argument);
  if (request != kPagemapScan || asked == nullptr || !IsForDump(*asked) || state == State::kOff) {
    return static_cast<int>(syscall(SYS_ioctl, fd, request, argument));
  }
  const int error = errno;
  if (state == State::kNew) state = Start() ? State::kReady : State::kOff;
  const format::KnownProcess* const process =
      state == State::kReady ? FindProcess(ProcessOf(fd)) : nullptr;
  errno = error;
  return static_cast<int>(process == nullptr ? Scan(fd, asked) : FilteredScan(fd, asked, *process));
}
