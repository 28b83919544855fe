#include "tools/snapstore/help.h"

#include <fmt/format.h>

#include <algorithm>

namespace snapstore::cli {

std::string WrapText(std::string_view text, size_t width) {
  std::string out;
  size_t column = 0;
  while (!text.empty()) {
    if (text.front() == '\n') {
      out += '\n';
      column = 0;
      text.remove_prefix(1);
      continue;
    }
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    if (column > 0 && column + 1 + end > width) {
      out += '\n';
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(end);
    if (text.starts_with(' ')) text.remove_prefix(1);
  }
  return out;
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  std::string sentence = command->get_description();
  // The description is wrapped already.
  for (char& c : sentence) {
    if (c == '\n') c = ' ';
  }
  sentence = sentence.substr(0, std::min(sentence.find(". "), sentence.size()));
  sentence.erase(sentence.find_last_not_of(" .") + 1);
  return fmt::format("  {:<10} {}\n", command->get_name(), sentence);
}

}  // namespace snapstore::cli
