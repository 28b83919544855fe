#include "base/shell_words.h"

#include <fmt/format.h>

namespace snapstore {
namespace {

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kOperators = "|&;<>()\n";
// What a backslash escapes between double quotes.
constexpr std::string_view kEscapable = "$`\"\\\n";

// Appends the quoted part that begins at line[at] (the opening quote) to `word`; returns the index
// after the closing quote, npos when there is none.
size_t TakeQuoted(std::string_view line, size_t at, std::string* word) {
  const char quote = line[at++];
  for (; at < line.size(); ++at) {
    if (line[at] == quote) return at + 1;
    if (quote == '"' && line[at] == '\\' && at + 1 < line.size() &&
        kEscapable.find(line[at + 1]) != std::string_view::npos) {
      if (line[++at] == '\n') continue;  // a continued line
    }
    word->push_back(line[at]);
  }
  return std::string_view::npos;
}

}  // namespace

Result<std::vector<std::string>> SplitCommand(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  size_t at = 0;
  while (at < line.size()) {
    const char c = line[at];
    if (c == '\'' || c == '"') {
      in_word = true;
      at = TakeQuoted(line, at, &word);
      if (at == std::string_view::npos) {
        return Status::InvalidArgument(fmt::format("quote {} is never closed", c));
      }
    } else if (c == '\\') {
      if (at + 1 == line.size()) return Status::InvalidArgument("ends in a backslash");
      if (line[at + 1] != '\n') {
        in_word = true;
        word.push_back(line[at + 1]);
      }
      at += 2;
    } else if (kBlanks.find(c) != std::string_view::npos) {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
      ++at;
    } else if (kOperators.find(c) != std::string_view::npos) {
      return Status::InvalidArgument(
          fmt::format("unquoted {} needs a shell: write sh -c '…' around the line",
                      c == '\n' ? std::string("newline") : fmt::format("'{}'", c)));
    } else {
      in_word = true;
      word.push_back(c);
      ++at;
    }
  }
  if (in_word) words.push_back(std::move(word));
  if (words.empty()) return Status::InvalidArgument("names no program");
  return words;
}

}  // namespace snapstore
