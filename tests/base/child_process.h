// RunInChild: runs a check in a forked process and brings its verdict back, for tests that change
// what a process cannot change back (mount namespace, seccomp filter, limits). Whatever the child
// mounted in a namespace of its own goes with it.
#ifndef SNAPSTORE_TESTS_BASE_CHILD_PROCESS_H_
#define SNAPSTORE_TESTS_BASE_CHILD_PROCESS_H_

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "base/check.h"
#include "base/file.h"

namespace snapstore {

// `check` returns what went wrong, or nothing. So does this function; a child that died counts as
// gone wrong. REQUIRES: no other thread runs.
inline std::string RunInChild(const std::function<std::string()>& check) {
  constexpr size_t kVerdictBytesMax = size_t{64} << 10;
  int ends[2];
  SNAP_CHECK(::pipe(ends) == 0);
  const pid_t child = ::fork();
  SNAP_CHECK(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    const std::string verdict = check();
    const Status written = WriteFull(ends[1], AsBytes(verdict), "verdict");
    ::_exit(written.ok() ? 0 : 1);
  }
  ::close(ends[1]);
  Bytes verdict(kVerdictBytesMax);
  const Result<size_t> got = ReadFull(ends[0], verdict, "verdict");
  ::close(ends[0]);
  int exit_state = 0;
  SNAP_CHECK(::waitpid(child, &exit_state, 0) == child);
  if (!got.ok()) return got.status().ToString();
  verdict.resize(*got);
  if (exit_state != 0) return "the child died with wait status " + std::to_string(exit_state);
  return std::string(AsText(verdict));
}

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_BASE_CHILD_PROCESS_H_
