// Text for people and back: sizes, times, names of arbitrary bytes, table columns.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_TEXT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_TEXT_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/inspect.h"
#include "snapstore/pipeline_stage.h"
#include "snapstore/reader.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"
#include "snapstore/store_usage.h"

namespace snapstore::cli {

// Length of the well-formed UTF-8 sequence at the front of `text`, 0 when there is none. Overlong
// forms and surrogates are malformed (Unicode 15, table 3-7).
size_t Utf8Length(std::string_view text);
bool IsUtf8(std::string_view text);

// `text` with everything a terminal could act on written as \xNN: control bytes, C1 controls, bytes
// that are not UTF-8.
std::string EscapeForTerminal(std::string_view text);

// "512 B", "1.50 KiB", "12.0 GiB".
std::string FormatSize(uint64_t bytes);
// "0:07", "1:02:03".
std::string FormatDuration(double seconds);
// "-rwsr-xr-x", with the type letter of ls.
std::string FormatMode(EntryType type, uint32_t mode);

// "4096", "0x1000", "512M", "1.5GiB": a number of bytes with an optional IEC unit K, M, G or T.
Result<uint64_t> ParseSize(std::string_view text);
// "10%" or "10": more than 0, at most 100.
Result<double> ParsePercent(std::string_view text);
// What check --sample takes: "5%", "2G" (a number of bytes with its unit), "3/7".
Result<CheckSample> ParseSample(std::string_view text);
// Decimal, or hexadecimal after 0x; nothing else.
Result<uint64_t> ParseInteger(std::string_view text);

// "36h", "7d", "2w", "6m" (30 days each), "1y" (365 days), or several of them in a row; in ns.
Result<int64_t> ParseDuration(std::string_view text);
// Each "KEY=VALUE"; InvalidArgument, naming `option`, for anything else or a key given twice.
Result<std::map<std::string, std::string>> ParseTags(const std::vector<std::string>& tags,
                                                     std::string_view option);

// The form paths have inside a snapshot: no '/' at either end, no empty or "." component. ".."
// is InvalidArgument.
Result<std::string> NormalisePath(std::string_view path);

// Lines of a table: columns padded to their widest cell, two spaces between.
class Table {
 public:
  enum class Align { kLeft, kRight };
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  // REQUIRES: one cell a column. Cells must be safe for a terminal.
  void Row(std::vector<std::string> cells);
  std::vector<std::string> Lines() const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Rows of two cells: how much the snapshot holds, and what taking it read and stored.
void AddStatistics(const SnapshotInfo& info, Table* table);

// How busy each stage of a pipeline was.
std::vector<std::string> StageLines(const std::vector<PipelineStage>& stages);

// "store: 12 writes, 3 reads, 1 deletes; 2 retried, 1 throttled; 64.0 MiB up, 1.00 KiB down; about
// $0.000061 at list prices". REQUIRES: usage.metered.
std::string StoreUsageLine(const StoreUsage& usage);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_TEXT_H_
