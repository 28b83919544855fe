#include "index/chunk_index.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/status_macros.h"
#include "index/internal/rocks.h"
#include "index/internal/rocks_chunk_index.h"

namespace snapstore {
namespace {

Status NotAFolder(const std::string& path) {
  return Status::InvalidArgument(fmt::format("index path {} is not a folder", path));
}

}  // namespace

Result<std::unique_ptr<ChunkIndex>> ChunkIndex::Open(const ChunkIndexOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.path, error);
  std::error_code type_error;
  const auto type = std::filesystem::status(options.path, type_error).type();
  if (type != std::filesystem::file_type::directory) {
    if (std::filesystem::exists(std::filesystem::file_status(type))) {
      return NotAFolder(options.path);
    }
    return Status::FromErrno(error.value(), "make index folder " + options.path);
  }
  auto index = std::make_unique<internal::RocksChunkIndex>();
  SNAP_RETURN_IF_ERROR(index->Init(options));
  return std::unique_ptr<ChunkIndex>(std::move(index));
}

Status ChunkIndex::Destroy(const std::string& path) {
  std::error_code error;
  const auto type = std::filesystem::symlink_status(path, error).type();
  if (type == std::filesystem::file_type::not_found) return Status::Ok();
  if (type == std::filesystem::file_type::none) {
    return Status::FromErrno(error.value(), "look at index folder " + path);
  }
  if (type != std::filesystem::file_type::directory) return NotAFolder(path);
  SNAP_ASSIGN_OR_RETURN(const auto lock, internal::FolderLock::Take(path));
  std::filesystem::remove_all(path, error);
  return error ? Status::FromErrno(error.value(), "remove index folder " + path) : Status::Ok();
}

}  // namespace snapstore
