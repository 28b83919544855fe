#include "engine/manifest_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/format.h"

namespace snapstore {
namespace {

// A manifest takes no longer to write.
constexpr std::chrono::hours kWrittenWithin{1};

// Not synced: bytes that a crash takes away do not match their name any more.
Status WriteWhole(const std::string& path, ByteSpan bytes) {
  const std::string made = path + "." + std::to_string(::getpid());
  SNAP_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(made, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  Status written = WriteFull(fd.get(), bytes, made);
  if (written.ok() && std::rename(made.c_str(), path.c_str()) != 0) {
    written = Status::FromErrno(errno, "rename " + made);
  }
  if (!written.ok()) ::unlink(made.c_str());
  return written;
}

}  // namespace

ManifestCache::ManifestCache(std::string folder) : folder_(std::move(folder)) {
  const Status made = MakeDirectories(folder_, 0700);
  if (!made.ok()) LogDebug("manifests are not kept: {}", made.message());
}

std::optional<Bytes> ManifestCache::Find(const Digest& id) const {
  Result<Bytes> bytes = ReadWholeFile(PathOf(id), kManifestBytesMax);
  if (!bytes.ok()) return std::nullopt;
  return std::move(*bytes);
}

void ManifestCache::Keep(const Digest& id, ByteSpan bytes) const {
  const Status written = WriteWhole(PathOf(id), bytes);
  if (!written.ok()) LogDebug("manifest {} is not kept: {}", id.ToHex(), written.message());
}

void ManifestCache::Retain(std::span<const Digest> ids) const {
  std::error_code error;
  std::vector<std::filesystem::path> others;
  const auto now = std::filesystem::file_time_type::clock::now();
  for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
    const Result<Digest> id = Digest::FromHex(file.path().filename().string());
    // Other names are files that are being written, or that a killed process left.
    const bool goes = id.ok() ? !std::binary_search(ids.begin(), ids.end(), *id)
                              : file.last_write_time(error) < now - kWrittenWithin && !error;
    if (goes) others.push_back(file.path());
  }
  for (const std::filesystem::path& path : others) std::filesystem::remove(path, error);
}

}  // namespace snapstore
