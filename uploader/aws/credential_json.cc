#include "uploader/aws/credential_json.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace snapstore {
namespace {

constexpr size_t kOutputBytesMax = 64 << 10;
constexpr int kOutputPollMillis = 100;

std::string TextAt(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// All that comes out of `fd` until its other end is closed.
Result<std::string> ReadOutput(int fd, double seconds) {
  std::string output;
  const Stopwatch watch;
  while (true) {
    if (watch.Seconds() > seconds) {
      return Status::Timeout(fmt::format("credential_process takes longer than {} s", seconds));
    }
    pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&waited, 1, kOutputPollMillis) <= 0) continue;
    char buffer[4096];
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got == 0) return output;
    if (got < 0 && errno != EINTR) return Status::FromErrno(errno, "read credential_process");
    if (got > 0) output.append(buffer, got);
    if (output.size() > kOutputBytesMax) {
      return Status::Io("credential_process prints more than 64 KiB");
    }
  }
}

}  // namespace

Result<AwsCredentials> ParseCredentialJson(std::string_view text) {
  const nlohmann::json object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Status::Io("the answer is not a JSON object");
  AwsCredentials credentials{.access_key_id = TextAt(object, "AccessKeyId"),
                             .secret_access_key = TextAt(object, "SecretAccessKey"),
                             .session_token = TextAt(object, "SessionToken")};
  if (credentials.session_token.empty()) credentials.session_token = TextAt(object, "Token");
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    const std::string code = TextAt(object, "Code");
    return Status::Io("the answer has no credentials" +
                      (code.empty() || code == "Success" ? "" : " but the code " + code));
  }
  if (const std::string expires = TextAt(object, "Expiration"); !expires.empty()) {
    SNAP_ASSIGN_OR_RETURN(credentials.expires_ns, ParseTime(expires));
  }
  return credentials;
}

Result<std::string> RunCredentialProcess(const std::string& command, double seconds) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Status::FromErrno(errno, "make a pipe");
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // In a group of its own, so that all of it can be ended.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  std::string text = command;
  char shell[] = "/bin/sh";
  char option[] = "-c";
  char* const argv[] = {shell, option, text.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, shell, &actions, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Status::FromErrno(error, "run credential_process");
  writer.Reset();
  Result<std::string> output = ReadOutput(reader.get(), seconds);
  if (!output.ok()) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!output.ok()) return output.status();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Status::Io("credential_process failed");
  }
  return output;
}

}  // namespace snapstore
