// Help texts: how CLI11 lays out what the commands say about themselves.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_HELP_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_HELP_H_

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace snapstore::cli {

// Wraps paragraphs at word boundaries; newlines stay.
std::string WrapText(std::string_view text, size_t width);

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }
  // Of a command in a list of commands only the first sentence.
  std::string make_subcommand(const CLI::App* command) const override;
};

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_HELP_H_
