// Passwords from the terminal.
//
// Thread safety: none; call it while no progress is drawn.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_PASSWORD_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_PASSWORD_H_

#include <optional>
#include <string>

#include "snapstore/credential.h"
#include "snapstore/status.h"

namespace snapstore::cli {

// A new password is asked for twice.
enum class PasswordUse { kOpen, kNew };

// Asks on the process's terminal (/dev/tty), without showing what is typed; nothing when there is
// no terminal. Cancelled after an interrupt, with the terminal as it was. WrongKey when a new
// password is not typed twice alike.
Result<std::optional<Credential>> AskPassword(const std::string& question, PasswordUse use);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_PASSWORD_H_
