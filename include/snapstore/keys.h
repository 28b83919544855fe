// The keys of an encrypted repository. Its master key never changes; each key here is a password or
// a key file that opens it. docs/security.md says what that means.
//
// Any number of processes may do this at once; none of them can take the last key away.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_KEYS_H_
#define SNAPSTORE_KEYS_H_

#include <string>
#include <vector>

#include "snapstore/credential.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

struct KeyInfo {
  std::string id;      // 64 hex digits: the SHA-256 of the object that holds it
  Status damage = {};  // what is wrong with it; then `id` is all that is known
  Credential::Kind kind = Credential::Kind::kPassword;
  std::string label = {};    // as given when it was added
  std::string host = {};     // where it was added
  std::string created = {};  // RFC 3339
  bool current = false;      // the one that opened the repository
};

// All of them are Unsupported when the repository is not encrypted.

// By age, damaged ones last.
Result<std::vector<KeyInfo>> ListKeys(Repository& repository);

// Lets `credential` open the repository as well, proved by reading the new key back.
Result<KeyInfo> AddKey(Repository& repository, const Credential& credential,
                       const std::string& label);

// `id` may be shortened to four digits. InvalidArgument when it is the key that opened the
// repository (so the last one stays, and whoever removes a key has shown that another works) or
// ambiguous; NotFound when there is none. Conflict when somebody else removed the key that opened
// the repository meanwhile: it was put back. Returns the full id.
Result<std::string> RemoveKey(Repository& repository, const std::string& id);

// Adds `credential` and then removes the key that opened the repository; its label is kept if
// `label` is empty. Whatever interrupts it, one of the two works. The handle may still be used.
Result<KeyInfo> RotateKey(Repository& repository, const Credential& credential,
                          const std::string& label);

}  // namespace snapstore

#endif  // SNAPSTORE_KEYS_H_
