// Credential: what opens an encrypted repository: a password, or the content of a key file.
//
// Thread safety: values and free functions, but CredentialFromEnvironment changes the environment.
#ifndef SNAPSTORE_CREDENTIAL_H_
#define SNAPSTORE_CREDENTIAL_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "snapstore/secret.h"
#include "snapstore/status.h"

namespace snapstore {

struct Credential {
  enum class Kind { kPassword, kKeyFile };

  // A key file shorter than this is no key.
  static constexpr size_t kKeyFileBytesMin = 32;
  static constexpr size_t kKeyFileBytesMax = 64 << 10;
  static constexpr size_t kPasswordBytesMax = 4 << 10;

  Kind kind = Kind::kPassword;
  Secret secret;

  // InvalidArgument when it is empty, or too short for a key, or too long.
  Status Check() const;
};

// The password in a file: its content without the newline that ends it.
Result<Credential> ReadPasswordFile(const std::string& path);
// The whole content of a key file.
Result<Credential> ReadKeyFile(const std::string& path);
// Makes a key file of random bytes that only its owner can read, durable when this returns.
// Conflict when there is a file already.
Result<Credential> MakeKeyFile(const std::string& path);

// From SNAPSTORE_KEY_FILE (a path), SNAPSTORE_PASSWORD_FILE (a path) or SNAPSTORE_PASSWORD; nothing
// when none is set. InvalidArgument when several are. A password is taken out of the process's
// environment, so that neither children nor /proc show it; call this once, before any thread runs.
// `suffix` ends the names of the variables: "2" for those of a second repository.
Result<std::optional<Credential>> CredentialFromEnvironment(std::string_view suffix = {});

}  // namespace snapstore

#endif  // SNAPSTORE_CREDENTIAL_H_
