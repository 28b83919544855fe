#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr size_t kBufferBytes = 4u << 20;

class DumpCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("ID", reference_, "Snapshot: an id, a unique prefix, or 'latest'")->required();
    app->add_option("PATH", path_, "File or volume in the snapshot")->required();
    app->add_option("--offset", offset_text_, "First byte to write, e.g. 4096 or 1M")
        ->capture_default_str();
    app->add_option("--length", length_text_, "Number of bytes; all up to the end without it");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(ParseArguments());
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository());
    SNAP_ASSIGN_OR_RETURN(auto reader, OpenSnapshot(*repository, reference_));
    SNAP_ASSIGN_OR_RETURN(auto content, reader->OpenContent(path_));
    if (offset_ > content->size()) {
      return Status::InvalidArgument(fmt::format("--offset {} is beyond the end of {}, {} bytes",
                                                 offset_, path_, content->size()));
    }
    const uint64_t end = offset_ + std::min(length_, content->size() - offset_);
    Bytes buffer(std::min<uint64_t>(kBufferBytes, end - offset_));
    for (uint64_t at = offset_; at < end;) {
      SNAP_RETURN_IF_ERROR(session.CheckInterrupt());
      const MutableByteSpan part(buffer.data(), std::min<uint64_t>(buffer.size(), end - at));
      SNAP_RETURN_IF_ERROR(content->ReadAt(at, part));
      SNAP_RETURN_IF_ERROR(session.out().Raw(part));
      at += part.size();
    }
    return Finding::kNone;
  }

 private:
  Status ParseArguments() {
    SNAP_ASSIGN_OR_RETURN(path_, NormalisePath(path_));
    auto offset = ParseSize(offset_text_);
    if (!offset.ok()) return offset.status().WithContext("--offset");
    offset_ = *offset;
    if (!length_text_) return Status::Ok();
    auto length = ParseSize(*length_text_);
    if (!length.ok()) return length.status().WithContext("--length");
    length_ = *length;
    return Status::Ok();
  }

  std::string reference_;
  std::string path_;
  std::string offset_text_ = "0";
  std::optional<std::string> length_text_;
  uint64_t offset_ = 0;
  uint64_t length_ = UINT64_MAX;
};

}  // namespace

const CommandInfo kDumpCommand = {
    "dump",
    "Write the content of one file or volume to standard output. Bytes are verified before they "
    "are "
    "written; holes come out as zeros. With --json only errors are JSON.",
    "  snapstore dump latest /etc/fstab\n"
    "  snapstore dump 3f21ab dev/vg0/data --offset 1M --length 4K | hexdump -C",
    MakeCommand<DumpCommand>};

}  // namespace snapstore::cli
