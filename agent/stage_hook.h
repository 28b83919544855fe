// StageHook: halts CRIU at one stage of its work until the agent has done its part of it.
//
// CRIU runs an action script at each stage (--action-script); this one asks the agent through named
// pipes in CRIU's working directory and fails when the agent says so or is gone.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_STAGE_HOOK_H_
#define SNAPSTORE_AGENT_STAGE_HOOK_H_

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class StageHook {
 public:
  // `directory` is CRIU's -D, without quotes in its name; `stage` as CRIU names it.
  static Result<std::unique_ptr<StageHook>> Create(const std::string& directory,
                                                   const std::string& stage);
  ~StageHook();

  std::string command() const { return path_; }  // for --action-script

  // Readable when CRIU waits, until the answer.
  int fd() const { return request_.get(); }
  bool Waits();
  // `ok`: CRIU goes on; else it fails. Of no effect when nobody waits.
  void Answer(bool ok);

 private:
  explicit StageHook(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  UniqueFd request_;
  UniqueFd answer_;
  bool waits_ = false;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_STAGE_HOOK_H_
