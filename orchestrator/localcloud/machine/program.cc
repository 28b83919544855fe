#include "orchestrator/localcloud/machine/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

// Files in memory stand in for pipes: what is read or printed is small, and nobody has to wait for
// anybody.
Result<UniqueFd> MemoryFile(const std::string& content) {
  UniqueFd file(memfd_create("program", MFD_CLOEXEC));
  if (!file.valid()) return Status::FromErrno(errno, "make a file in memory");
  SNAP_RETURN_IF_ERROR(PwriteFull(file.get(), AsBytes(content), 0, "a file in memory"));
  return file;
}

Result<std::string> Content(int fd) {
  constexpr size_t kMost = 1 << 20;
  Bytes bytes(kMost);
  SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(fd, bytes, 0, "a file in memory"));
  return std::string(AsText(ByteSpan(bytes).first(got)));
}

}  // namespace

Result<std::string> RunProgram(const std::vector<std::string>& argv, const std::string& input) {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd in, MemoryFile(input));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd out, MemoryFile(""));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd err, MemoryFile(""));
  std::vector<std::string> words = argv;
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  std::array<std::string, 2> settings = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  std::array<char*, 3> environment = {settings[0].data(), settings[1].data(), nullptr};

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, out.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, err.get(), STDERR_FILENO);
  pid_t pid = -1;
  const int error =
      posix_spawnp(&pid, words[0].c_str(), &files, nullptr, pointers.data(), environment.data());
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Status::FromErrno(error, "run " + argv[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Content(out.get());
  SNAP_ASSIGN_OR_RETURN(std::string told, Content(err.get()));
  if (told.empty()) {
    told = fmt::format("ended with status {}", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }
  std::string command;
  for (const std::string& word : argv) command += (command.empty() ? "" : " ") + word;
  return Status::Io(fmt::format("{}: {}", command, told.substr(0, told.find('\n'))));
}

}  // namespace snapstore::localcloud
