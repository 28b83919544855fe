#include "tools/snapstore/changed_blocks.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::vector<std::string_view> SplitWords(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const size_t end = std::min(line.find_first_of(kBlanks), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

Result<ByteRange> ParseRange(const std::vector<std::string_view>& words) {
  if (words.size() != 2) {
    return Status::InvalidArgument(fmt::format("expected OFFSET LENGTH, found {} word{}",
                                               words.size(), words.size() == 1 ? "" : "s"));
  }
  auto offset = ParseInteger(words[0]);
  if (!offset.ok()) return offset.status();
  auto length = ParseInteger(words[1]);
  if (!length.ok()) return length.status();
  if (*length == 0) return Status::InvalidArgument("the length is zero");
  if (*offset > UINT64_MAX - *length) {
    return Status::InvalidArgument("the range ends beyond 64 bits");
  }
  return ByteRange{.offset = *offset, .length = *length};
}

std::vector<ByteRange> Joined(std::vector<ByteRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; });
  std::vector<ByteRange> joined;
  for (const ByteRange& range : ranges) {
    if (!joined.empty() && range.offset <= joined.back().offset + joined.back().length) {
      const uint64_t end =
          std::max(joined.back().offset + joined.back().length, range.offset + range.length);
      joined.back().length = end - joined.back().offset;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

}  // namespace

Result<std::vector<ByteRange>> ParseChangedBlocks(std::string_view text, std::string_view file) {
  std::vector<ByteRange> ranges;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    const std::vector<std::string_view> words = SplitWords(line);
    if (words.empty()) continue;
    auto range = ParseRange(words);
    if (!range.ok()) return range.status().WithContext(fmt::format("{}:{}", file, number));
    ranges.push_back(*range);
  }
  return Joined(std::move(ranges));
}

}  // namespace snapstore::cli
