// RunCommand: runs a program to its end and brings back what it wrote.
#ifndef SNAPSTORE_TESTS_BASE_RUN_COMMAND_H_
#define SNAPSTORE_TESTS_BASE_RUN_COMMAND_H_

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace snapstore {

struct CommandResult {
  int wait_status = -1;  // of waitpid(2); 0 is success, -1 a program that could not be started
  std::string output;    // standard output; standard error is the caller's
};

// `arguments` begins with the program, which is looked for in PATH. No shell is involved.
inline CommandResult RunCommand(const std::vector<std::string>& arguments) {
  CommandResult result;
  int ends[2];
  if (::pipe(ends) != 0) return result;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addclose(&actions, ends[0]);
  ::posix_spawn_file_actions_addclose(&actions, ends[1]);
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t child = -1;
  const int failed = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (failed == 0) {
    char buffer[1 << 16];
    for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
      result.output.append(buffer, static_cast<size_t>(got));
    }
    ::waitpid(child, &result.wait_status, 0);
  }
  ::close(ends[0]);
  return result;
}

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_BASE_RUN_COMMAND_H_
