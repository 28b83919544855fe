#include "agent/timer_images.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "agent/criu_images.pb.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace snapstore::agent {
namespace {

constexpr const char* kFilesImage = "files.img";
constexpr size_t kFilesImageBytesMax = 1 << 30;
constexpr size_t kMagicBytes = 8;

}  // namespace

Result<Bytes> RearmTimers(ByteSpan files_image) {
  const Status damaged = Status::Corruption("CRIU image: damaged list of files");
  if (files_image.size() < kMagicBytes) return damaged;
  Bytes out;
  out.reserve(files_image.size() + kMagicBytes);
  ByteWriter writer(&out);
  writer.Raw(files_image.first(kMagicBytes));
  ByteReader reader(files_image.subspan(kMagicBytes));
  while (!reader.empty()) {
    const uint32_t length = reader.U32();
    const ByteSpan bytes = reader.Raw(length);
    criu::FileEntry entry;
    if (!reader.ok() || !entry.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return damaged;
    }
    const bool armed = entry.tfd().vsec() != 0 || entry.tfd().vnsec() != 0;
    const bool repeats = entry.tfd().isec() != 0 || entry.tfd().insec() != 0;
    if (!entry.has_tfd() || armed || !repeats) {
      writer.U32(length);
      writer.Raw(bytes);
      continue;
    }
    entry.mutable_tfd()->set_vnsec(1);
    const std::string text = entry.SerializeAsString();
    writer.U32(static_cast<uint32_t>(text.size()));
    writer.Raw(AsBytes(text));
  }
  return out;
}

Status RearmedImages::WriteTo(const std::string& name, int fd) {
  if (name != kFilesImage) return source_->WriteTo(name, fd);
  const UniqueFd memory(memfd_create(kFilesImage, MFD_CLOEXEC));
  if (!memory.valid()) return Status::FromErrno(errno, "make a file in memory");
  SNAP_RETURN_IF_ERROR(source_->WriteTo(name, memory.get()));
  SNAP_ASSIGN_OR_RETURN(
      const Bytes image,
      ReadWholeFile(fmt::format("/proc/self/fd/{}", memory.get()), kFilesImageBytesMax));
  SNAP_ASSIGN_OR_RETURN(const Bytes mended, RearmTimers(image));
  return WriteFull(fd, mended, name);
}

}  // namespace snapstore::agent
