// ImageServe: answers CRIU's requests for images during a restore.
//
// Thread safety: none for the server itself; the source is called from several threads at once.
// REQUIRES: SIGPIPE is ignored in the process: CRIU may close a pipe early.
#ifndef SNAPSTORE_AGENT_IMAGE_SERVE_H_
#define SNAPSTORE_AGENT_IMAGE_SERVE_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/stage_hook.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// Where images come from.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual bool Has(const std::string& name) const = 0;
  // Writes the whole image to `fd`, a pipe. Called from a thread of its own for each image.
  virtual Status WriteTo(const std::string& name, int fd) = 0;
};

class ImageServe {
 public:
  // Puts the socket into `directory` (CRIU's -D), before CRIU starts. `source` must outlive it.
  static Result<std::unique_ptr<ImageServe>> Create(const std::string& directory,
                                                    ImageSource* source);
  ~ImageServe();

  // Serves until the process behind `criu_pidfd` has ended. The first error of an image, or OK;
  // CRIU's exit status is the caller's to check. When CRIU waits in `hook` (may be null) `at_hook`
  // is called, whose error makes it fail.
  Status Run(int criu_pidfd, StageHook* hook, const std::function<Status()>& at_hook);

 private:
  ImageServe(std::string directory, ImageSource* source)
      : directory_(std::move(directory)), source_(source) {}
  Status HandleRequest();
  void Fail(const Status& status);

  const std::string directory_;
  ImageSource* const source_;
  UniqueFd listening_;
  UniqueFd connection_;
  std::vector<std::thread> writers_;
  std::mutex mutex_;
  Status first_error_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_IMAGE_SERVE_H_
