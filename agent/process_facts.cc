#include "agent/process_facts.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <memory>

#include "base/bytes.h"
#include "base/file.h"

namespace snapstore::agent {
namespace {

constexpr size_t kProcTextBytesMax = 256 << 20;

Status ReadDescriptors(ProcessFacts* facts) {
  const std::string folder = facts->Path("fd");
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), closedir);
  if (open == nullptr) return Status::FromErrno(errno, folder);
  while (const dirent* entry = readdir(open.get())) {
    if (entry->d_name[0] == '.') continue;
    Descriptor descriptor;
    const std::string path = fmt::format("{}/{}", folder, entry->d_name);
    descriptor.target = ReadProcLink(path);
    if (descriptor.target.empty()) continue;  // closed meanwhile
    std::from_chars(entry->d_name, entry->d_name + std::string_view(entry->d_name).size(),
                    descriptor.number);
    descriptor.info = ReadProcText(facts->Path(fmt::format("fdinfo/{}", entry->d_name)));
    (void)stat(path.c_str(), &descriptor.status);
    facts->descriptors.push_back(std::move(descriptor));
  }
  std::sort(facts->descriptors.begin(), facts->descriptors.end(),
            [](const Descriptor& a, const Descriptor& b) { return a.number < b.number; });
  return Status::Ok();
}

// "7f00-7f01 rw-s 00000000 00:01 2054      /memfd:x (deleted)".
Mapping ParseMapping(std::string_view line) {
  constexpr int kFieldsBeforePath = 5;
  Mapping mapping;
  for (int field = 0; field < kFieldsBeforePath; ++field) {
    const size_t blank = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, blank);
    if (field == 0) mapping.addresses = std::string(word);
    if (field == 1 && word.size() == 4) {
      mapping.writable = word[1] == 'w';
      mapping.shared = word[3] == 's';
    }
    line.remove_prefix(std::min(line.find_first_not_of(' ', blank), line.size()));
  }
  mapping.path = std::string(line);
  return mapping;
}

void ReadMappings(ProcessFacts* facts) {
  const std::string text = ReadProcText(facts->Path("maps"));
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t newline = std::min(rest.find('\n'), rest.size());
    facts->mappings.push_back(ParseMapping(rest.substr(0, newline)));
    rest.remove_prefix(std::min(newline + 1, rest.size()));
  }
}

}  // namespace

std::string ProcessFacts::Path(std::string_view rest) const {
  return fmt::format("/proc/{}/{}", pid, rest);
}

Result<ProcessFacts> ReadProcessFacts(pid_t pid) {
  ProcessFacts facts;
  facts.pid = pid;
  facts.name = ReadProcText(facts.Path("comm"));
  if (!facts.name.empty()) facts.name.pop_back();
  facts.status = ReadProcText(facts.Path("status"));
  const Status read = ReadDescriptors(&facts);
  if (!read.ok()) return read;
  ReadMappings(&facts);
  return facts;
}

std::string ReadProcText(const std::string& path) {
  const auto bytes = ReadWholeFile(path, kProcTextBytesMax);
  return bytes.ok() ? std::string(AsText(*bytes)) : std::string();
}

std::string ReadProcLink(const std::string& path) {
  std::array<char, PATH_MAX> buffer;
  const ssize_t length = readlink(path.c_str(), buffer.data(), buffer.size());
  return length < 0 ? std::string() : std::string(buffer.data(), static_cast<size_t>(length));
}

int64_t NumberBehind(std::string_view text, std::string_view key, int base) {
  size_t at = text.starts_with(key) ? 0 : text.find("\n" + std::string(key));
  if (at == std::string_view::npos) return -1;
  if (at != 0 || !text.starts_with(key)) ++at;
  std::string_view rest = text.substr(at + key.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t:"), rest.size()));
  int64_t value = -1;
  std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
  return value;
}

uint32_t InodeOf(std::string_view target) {
  const size_t open = target.find('[');
  uint32_t inode = 0;
  if (open != std::string_view::npos) {
    std::from_chars(target.data() + open + 1, target.data() + target.size(), inode);
  }
  return inode;
}

}  // namespace snapstore::agent
