#include "engine/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr std::string_view kName = "scratch file";

}  // namespace

Result<std::unique_ptr<ScratchFile>> ScratchFile::Create(const std::string& folder) {
  Result<UniqueFd> fd = OpenFile(folder, O_RDWR | O_TMPFILE, 0600);
  if (!fd.ok()) {  // a file system that knows no files without a name
    std::string path = folder + "/scratch-XXXXXX";
    UniqueFd named(::mkostemp(path.data(), O_CLOEXEC));
    if (!named.valid()) return Status::FromErrno(errno, "create " + path);
    ::unlink(path.c_str());
    fd = std::move(named);
  }
  return std::unique_ptr<ScratchFile>(new ScratchFile(std::move(*fd)));
}

Result<uint64_t> ScratchFile::Append(ByteSpan bytes) {
  const uint64_t at = size_;
  SNAP_RETURN_IF_ERROR(PwriteFull(fd_.get(), bytes, at, kName));
  size_ = at + bytes.size();
  return at;
}

Status ScratchFile::Read(uint64_t offset, MutableByteSpan out) const {
  SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(fd_.get(), out, offset, kName));
  return got == out.size() ? Status() : Status::Internal("read beyond the end of a scratch file");
}

}  // namespace snapstore
