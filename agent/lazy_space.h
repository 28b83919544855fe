// LazySpace: one address space whose missing pages are put in while its process runs, by
// userfaultfd(2).
//
// Missing pages are known only here: the kernel tells of every first touch, of every fork, and
// before the process unmaps, drops or moves memory. It refuses pages while such news is unread.
// Since no page is on its way from the reading of news until that is noted, one that the process
// has given up is never put back.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_AGENT_LAZY_SPACE_H_
#define SNAPSTORE_AGENT_LAZY_SPACE_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "agent/lazy_ranges.h"
#include "base/bytes.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class LazySpace {
 public:
  enum class Kind { kRestored, kForked };

  // `pid`: as the checkpoint knows the process that the memory is from. `userfaultfd` does not
  // block.
  LazySpace(int pid, UniqueFd userfaultfd, LazyRanges missing, Kind kind = Kind::kRestored)
      : pid_(pid),
        kind_(kind),
        fd_(std::move(userfaultfd)),
        missing_(std::move(missing)),
        settled_(kind == Kind::kForked) {}

  int pid() const { return pid_; }
  int fd() const { return fd_.get(); }

  struct News {
    std::vector<uint64_t> touched;  // addresses of pages that somebody waits for
    std::vector<std::shared_ptr<LazySpace>> children;
  };
  // What the kernel has to tell by now.
  Result<News> ReadNews();

  // The missing pages that hold `address`, cut to the block of `block` bytes (a power of two)
  // around it; none when that page is not missing.
  std::optional<LazyRange> MissingAround(uint64_t address, uint64_t block) const;

  // For those who fill in the rest: the next missing pages, at most `bytes_max`, that nobody else
  // is at. Each is to be given back by Filled.
  std::optional<LazyRange> NextToFill(uint64_t bytes_max);
  void Filled();

  // CRIU is done with the process: all its memory is mapped, and what is not there never will be.
  // A forked process is settled from the start.
  void Settle();
  // What to do with pages that CRIU has not mapped yet.
  enum class IfUnmapped { kWait, kLeave };

  // Puts in what is still missing of `piece`, whose content is `bytes`, or zeros if that is empty,
  // and wakes who waits for it. Corruption when these are no whole pages.
  Status Place(const LazyRange& piece, ByteSpan bytes, IfUnmapped if_unmapped);
  // Answers a touch of a page that is not missing: zeros, if there is nothing yet.
  Status PlaceZeros(uint64_t address);

  // Of the checkpoint; 0 as well when the process is gone.
  uint64_t missing_bytes() const;

 private:
  struct Step {
    uint64_t bytes = 0;  // that are there now; 0: try again when the news has been read
    bool gone = false;
    bool unmapped = false;  // the first page
  };
  Result<Step> Put(uint64_t address, uint64_t length, ByteSpan bytes) const;
  Result<Step> Judge(int error_number, int64_t done, uint64_t address) const;
  // What to do about a page that was not mapped, with all of them told to be or not.
  Result<Step> JudgeUnmapped(uint64_t address, bool settled) const;
  Result<News> ReadNewsLocked();
  Result<Step> PlaceStep(const LazyRange& piece, ByteSpan bytes, IfUnmapped if_unmapped,
                         uint64_t* at);

  const int pid_;
  const Kind kind_;
  const UniqueFd fd_;
  mutable std::mutex mutex_;  // guards what follows, and reading from fd_
  std::condition_variable turn_;
  int putting_ = 0;        // threads that are at it without the lock
  bool has_news_ = false;  // to be read before anybody begins to put in more
  LazyRanges missing_;
  uint64_t cursor_ = 0;  // where NextToFill goes on
  int filling_ = 0;
  bool settled_;
  bool gone_ = false;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_LAZY_SPACE_H_
