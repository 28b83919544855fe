// ImageCapture: takes CRIU's image stream of a dump into an arena while the application is frozen.
//
// The trap this exists for: CRIU passes references to the application's pages through the pipes,
// not copies. With --leave-running what is still unread when the application runs on would show its
// later memory. A post-dump hook therefore keeps the freeze until every pipe was read to its end
// and the caller has captured what else belongs to the same instant.
//
// Thread safety: none. Run blocks; nothing is hashed, compressed or written to disk in it.
#ifndef SNAPSTORE_AGENT_IMAGE_CAPTURE_H_
#define SNAPSTORE_AGENT_IMAGE_CAPTURE_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent/arena.h"
#include "agent/stage_hook.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

struct epoll_event;

namespace snapstore::agent {

// For a dump of an application of which some memory need not be captured.
struct CapturePlan {
  // The pages of these page maps pass by unread; their files say ArenaFile::only_changed.
  std::set<std::string> let_go;
  // For CRIU's process: NAME=value.
  std::vector<std::string> environment;
  // Called, if it is there, before `while_frozen`, as that is, with what was captured.
  std::function<Status(std::vector<ArenaFile>*)> complete;
};

class ImageCapture {
 public:
  // Puts the socket and the hook into `directory` (the one CRIU gets as -D), before CRIU starts.
  // `arena` must outlive the captured files, `plan` (null: everything is captured) the capture.
  static Result<std::unique_ptr<ImageCapture>> Create(const std::string& directory, Arena* arena,
                                                      const CapturePlan* plan = nullptr);
  ~ImageCapture();

  std::string hook_command() const { return hook_->command(); }  // for criu's --action-script

  // How long CRIU may be silent, and how long it may take to end once all is said.
  struct Patience {
    std::chrono::milliseconds silence{10'000};
    std::chrono::milliseconds end{5'000};
  };

  // Serves until the process behind `criu_pidfd` has ended. `while_frozen` is called once, after
  // all images have arrived and before the application runs on; its error fails the dump.
  // Cancelled: CRIU ended early and its exit status says why. Any other failing Status means that
  // the capture is no good and that CRIU was made to give up (it then resumes the application);
  // CRIU's exit status is still the caller's to check. `kill_criu` is called, perhaps repeatedly,
  // when it does not even end then.
  Status Run(int criu_pidfd, const std::function<Status()>& while_frozen,
             const std::function<void()>& kill_criu, const Patience& patience);

  // In order of arrival. Valid after a Run that was OK.
  const std::vector<ArenaFile>& files() const { return files_; }

 private:
  struct OpenFile {
    UniqueFd pipe;
    ArenaWriter writer;
    bool let_go = false;
    uint64_t bytes_gone = 0;
  };

  ImageCapture(std::string directory, Arena* arena, const CapturePlan* plan)
      : directory_(std::move(directory)), arena_(arena), plan_(plan) {}
  Status SetUp();
  Status Watch(int fd);
  Status HandleEvent(int fd);
  Status HandleEvents(std::span<const epoll_event> events, int criu_pidfd);
  Status HandleRequest();
  Status ReadPipe(std::map<int, OpenFile>::iterator file);
  Status LetGo(std::map<int, OpenFile>::iterator file);
  bool IsLetGo(const std::string& name);
  Status FinishFreeze(const std::function<Status()>& while_frozen);
  bool RequestWaits() const;
  void Abort();

  const std::string directory_;
  Arena* const arena_;
  const CapturePlan* const plan_;
  std::string last_pagemap_;  // that CRIU named; the pages it names next belong to it
  std::unique_ptr<StageHook> hook_;
  UniqueFd null_;  // /dev/null
  UniqueFd epoll_;
  UniqueFd listening_;
  UniqueFd connection_;
  std::map<int, OpenFile> open_;  // by descriptor
  std::vector<ArenaFile> files_;
  bool frozen_done_ = false;
  bool aborted_ = false;
  bool criu_ended_ = false;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_IMAGE_CAPTURE_H_
