#include "tools/snapstore/password.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/status_macros.h"
#include "tools/snapstore/interrupt.h"

namespace snapstore::cli {
namespace {

// While it lives, the terminal does not show what is typed.
class EchoOff {
 public:
  explicit EchoOff(int fd) : fd_(fd), was_on_(::tcgetattr(fd, &saved_) == 0) {
    termios silent = saved_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (was_on_) (void)::tcsetattr(fd_, TCSAFLUSH, &silent);
  }
  ~EchoOff() {
    if (was_on_) (void)::tcsetattr(fd_, TCSAFLUSH, &saved_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  const int fd_;
  termios saved_{};
  const bool was_on_;
};

Status Say(int terminal, const std::string& text) {
  return WriteFull(terminal, AsBytes(text), "terminal");
}

// One line, without its end.
Result<Secret> ReadLine(int terminal) {
  Secret line = Secret::OfSize(Credential::kPasswordBytesMax);
  size_t size = 0;
  while (true) {
    SNAP_RETURN_IF_ERROR(WaitReadable(terminal));
    char c = 0;
    const ssize_t got = ::read(terminal, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::FromErrno(errno, "read the terminal");
    if (got == 0 || c == '\n') break;
    if (size == line.size()) return Status::InvalidArgument("the password is too long");
    line.data()[size++] = c;
  }
  return Secret(line.view().substr(0, size));
}

Result<Secret> Ask(int terminal, const std::string& question) {
  Result<Secret> line = [&]() -> Result<Secret> {
    const EchoOff silent(terminal);
    SNAP_RETURN_IF_ERROR(Say(terminal, question));
    return ReadLine(terminal);
  }();
  // The newline that was typed is not shown either.
  SNAP_RETURN_IF_ERROR(Say(terminal, "\n"));
  return line;
}

}  // namespace

Result<std::optional<Credential>> AskPassword(const std::string& question, PasswordUse use) {
  const Result<UniqueFd> terminal = OpenFile("/dev/tty", O_RDWR | O_NOCTTY);
  if (!terminal.ok()) return std::optional<Credential>();
  SNAP_ASSIGN_OR_RETURN(Secret password, Ask(terminal->get(), question + ": "));
  if (use == PasswordUse::kNew && !password.empty()) {
    SNAP_ASSIGN_OR_RETURN(const Secret again, Ask(terminal->get(), question + ", again: "));
    if (again.view() != password.view()) return Status::WrongKey("the two passwords differ");
  }
  std::optional<Credential> credential =
      Credential{Credential::Kind::kPassword, std::move(password)};
  if (const Status status = credential->Check(); !status.ok()) {
    return Status::WrongKey(status.message());
  }
  return credential;
}

}  // namespace snapstore::cli
