#include "agent/stage_hook.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr const char* kRequestSuffix = ".request";
constexpr const char* kAnswerSuffix = ".answer";

// Shell built-ins only, so that nothing but /bin/sh must exist in the cell. Each open is such that
// it does not wait for an agent that is gone, and the read then meets an end of file.
std::string ScriptOf(const std::string& path, const std::string& stage) {
  return fmt::format(
      "#!/bin/sh\n"
      "# Halts CRIU until the agent has done its part of this stage.\n"
      "[ \"$CRTOOLS_SCRIPT_ACTION\" = {3} ] || exit 0\n"
      "exec 3<> '{0}{2}' 4< '{0}{2}' 3>&- 5<> '{0}{1}' || exit 1\n"
      "echo waiting >&5 || exit 1\n"
      "read -r answer <&4 || exit 1\n"
      "[ \"$answer\" = ok ]\n",
      path, kRequestSuffix, kAnswerSuffix, stage);
}

Result<UniqueFd> MakeFifo(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Status::FromErrno(errno, fmt::format("remove old {}", path));
  }
  if (mkfifo(path.c_str(), 0600) != 0) {
    return Status::FromErrno(errno, fmt::format("make {}", path));
  }
  // Both ends: neither this open nor the hook's ever waits for the other side.
  return OpenFile(path, O_RDWR | O_NONBLOCK);
}

}  // namespace

Result<std::unique_ptr<StageHook>> StageHook::Create(const std::string& directory,
                                                     const std::string& stage) {
  if (directory.find('\'') != std::string::npos) {
    return Status::InvalidArgument(fmt::format("{}: must not contain a quote", directory));
  }
  std::unique_ptr<StageHook> hook(new StageHook(directory + "/" + stage));
  SNAP_ASSIGN_OR_RETURN(hook->request_, MakeFifo(hook->path_ + kRequestSuffix));
  SNAP_ASSIGN_OR_RETURN(hook->answer_, MakeFifo(hook->path_ + kAnswerSuffix));
  SNAP_RETURN_IF_ERROR(ReplaceFile(hook->path_, AsBytes(ScriptOf(hook->path_, stage)), 0700));
  return hook;
}

StageHook::~StageHook() {
  for (const char* suffix : {"", kRequestSuffix, kAnswerSuffix}) {
    (void)unlink((path_ + suffix).c_str());
  }
}

bool StageHook::Waits() {
  std::array<char, 64> text{};
  if (read(request_.get(), text.data(), text.size()) > 0) waits_ = true;
  return waits_;
}

void StageHook::Answer(bool ok) {
  if (!Waits()) return;
  const std::string_view text = ok ? "ok\n" : "failed\n";
  (void)!write(answer_.get(), text.data(), text.size());
  waits_ = false;
}

}  // namespace snapstore::agent
