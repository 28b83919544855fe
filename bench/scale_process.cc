#include "bench/scale_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace snapstore::bench {

Result<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"/proc/self/exe"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0) return Status::Io("pipe");
  const UniqueFd its_input(in[0]);
  UniqueFd input(in[1]);
  if (pipe2(out, O_CLOEXEC) != 0) return Status::Io("pipe");
  UniqueFd output(out[0]);
  const UniqueFd its_output(out[1]);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, its_input.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, its_output.get(), STDOUT_FILENO);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, pointers[0], &files, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Status::Io(fmt::format("{} cannot be started: {}", words[1], error));
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, std::move(input), std::move(output)));
}

Result<std::string> ChildProcess::Finish() {
  input_ = UniqueFd();
  std::string printed;
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(output_.get(), buffer, sizeof(buffer))) > 0) {
    printed.append(buffer, static_cast<size_t>(got));
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = 0;
  if (status != 0) return Status::Internal("what sends requests has failed");
  return printed;
}

ChildProcess::~ChildProcess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

}  // namespace snapstore::bench
