#include "snapstore/credential.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "base/bytes.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kNewKeyBytes = 64;

// The whole file, which may be a pipe ("<(pass show backup)").
Result<Secret> ReadSecretFile(const std::string& path, size_t bytes_max, const char* what) {
  const std::string name = fmt::format("{} {}", what, path);
  Result<UniqueFd> fd = OpenFile(path, O_RDONLY);
  if (!fd.ok()) return fd.status().WithContext(what);
  Secret buffer = Secret::OfSize(bytes_max + 1);
  const MutableByteSpan space(reinterpret_cast<uint8_t*>(buffer.data()), buffer.size());
  SNAP_ASSIGN_OR_RETURN(const size_t size, ReadFull(fd->get(), space, name));
  if (size > bytes_max) {
    return Status::InvalidArgument(fmt::format("{} is longer than {} bytes", name, bytes_max));
  }
  return Secret(buffer.view().substr(0, size));
}

Status CheckIn(const Credential& credential, const std::string& path) {
  return credential.Check().WithContext(path);
}

}  // namespace

Status Credential::Check() const {
  if (kind == Kind::kPassword) {
    if (secret.empty()) return Status::InvalidArgument("the password is empty");
    if (secret.size() <= kPasswordBytesMax) return {};
    return Status::InvalidArgument(
        fmt::format("the password is longer than {} bytes", kPasswordBytesMax));
  }
  if (secret.size() >= kKeyFileBytesMin && secret.size() <= kKeyFileBytesMax) return {};
  return Status::InvalidArgument(fmt::format("a key file has {} to {} bytes, not {}",
                                             kKeyFileBytesMin, kKeyFileBytesMax, secret.size()));
}

Result<Credential> ReadPasswordFile(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Secret content,
                        ReadSecretFile(path, Credential::kPasswordBytesMax + 2, "password file"));
  std::string_view text = content.view();
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  Credential credential{Credential::Kind::kPassword, Secret(text)};
  SNAP_RETURN_IF_ERROR(CheckIn(credential, path));
  return credential;
}

Result<Credential> ReadKeyFile(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(Secret content,
                        ReadSecretFile(path, Credential::kKeyFileBytesMax, "key file"));
  Credential credential{Credential::Kind::kKeyFile, std::move(content)};
  SNAP_RETURN_IF_ERROR(CheckIn(credential, path));
  return credential;
}

Result<Credential> MakeKeyFile(const std::string& path) {
  Credential credential{Credential::Kind::kKeyFile, Secret::OfSize(kNewKeyBytes)};
  const MutableByteSpan key(reinterpret_cast<uint8_t*>(credential.secret.data()), kNewKeyBytes);
  SecureRandom(key);
  Result<UniqueFd> fd = OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, 0400);
  if (!fd.ok()) return fd.status().WithContext("new key file");
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const auto write = [&]() -> Status {
    SNAP_RETURN_IF_ERROR(WriteFull(fd->get(), key, path));
    SNAP_RETURN_IF_ERROR(SyncFd(fd->get(), path));
    return SyncDirectory(folder);
  };
  if (Status status = write(); !status.ok()) {
    (void)::unlink(path.c_str());
    return status.WithContext("new key file");
  }
  return credential;
}

Result<std::optional<Credential>> CredentialFromEnvironment(std::string_view suffix) {
  const std::string key_file_name = fmt::format("SNAPSTORE_KEY_FILE{}", suffix);
  const std::string password_file_name = fmt::format("SNAPSTORE_PASSWORD_FILE{}", suffix);
  const std::string password_name = fmt::format("SNAPSTORE_PASSWORD{}", suffix);
  const auto path_in = [](const std::string& name) -> const char* {
    const char* const path = std::getenv(name.c_str());
    return path == nullptr || *path == '\0' ? nullptr : path;
  };
  const char* const key_file = path_in(key_file_name);
  const char* const password_file = path_in(password_file_name);
  std::optional<Credential> password;
  if (char* const text = std::getenv(password_name.c_str()); text != nullptr) {
    password = Credential{Credential::Kind::kPassword, Secret(text)};
    ::explicit_bzero(text, std::strlen(text));
    ::unsetenv(password_name.c_str());
  }
  if ((key_file != nullptr) + (password_file != nullptr) + password.has_value() > 1) {
    return Status::InvalidArgument(fmt::format("more than one of {}, {} and {} is set",
                                               key_file_name, password_file_name, password_name));
  }
  if (key_file != nullptr) {
    SNAP_ASSIGN_OR_RETURN(password, ReadKeyFile(key_file));
  } else if (password_file != nullptr) {
    SNAP_ASSIGN_OR_RETURN(password, ReadPasswordFile(password_file));
  } else if (password.has_value()) {
    SNAP_RETURN_IF_ERROR(CheckIn(*password, password_name));
  }
  return password;
}

}  // namespace snapstore
