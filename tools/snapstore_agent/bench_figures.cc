#include "tools/snapstore_agent/bench_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/snapstore_agent/text.h"

namespace snapstore::agent {
namespace {

using nlohmann::ordered_json;

const HeapFigures& HeapOf(const BenchFigures& figures, uint64_t bytes) {
  return *std::find_if(figures.heaps.begin(), figures.heaps.end(),
                       [&](const HeapFigures& heap) { return heap.heap_bytes == bytes; });
}

double Ratio(double value, double of) { return of > 0 ? value / of : 0; }

std::string SecondsText(const std::optional<double>& seconds) {
  return seconds ? fmt::format("{:.2f} s", *seconds) : "-";
}

std::optional<double> DumpAndCompress(const HeapFigures& heap) {
  if (!heap.zstd_seconds) return {};
  return heap.criu_seconds + *heap.zstd_seconds;
}

std::string CheckpointTable(const BenchFigures& figures) {
  std::string text = fmt::format(
      "{:>10} {:>7} {:>11} {:>9} {:>10} {:>10} {:>10} {:>10} {:>6} {:>9} {:>9} {:>9} {:>8} {:>8}\n",
      "Heap", "Dirty", "Frozen", "Total", "Captured", "Read", "New", "Stored", "/zstd", "Resumed",
      "Answer", "Lazily", "Fro/criu", "Res/criu");
  for (const CheckpointFigures& row : figures.checkpoints) {
    const HeapFigures& heap = HeapOf(figures, row.heap_bytes);
    text += fmt::format(
        "{:>10} {:>5} % {:>8.1f} ms {:>7.2f} s {:>10} {:>10} {:>10} {:>10} {:>6.2f} {:>7.2f} s "
        "{:>7.2f} s {:>9} {:>8.2f} {:>8.2f}\n",
        SizeText(row.heap_bytes), row.dirty_percent, row.frozen_ms, row.seconds,
        SizeText(row.bytes_captured), SizeText(row.bytes_read), SizeText(row.bytes_new),
        SizeText(row.bytes_stored), row.stored_ratio, row.resumed_s, row.answered_s,
        SecondsText(row.lazily_answered_s), Ratio(row.frozen_ms, heap.criu_frozen_ms),
        Ratio(row.answered_s, heap.criu_answered_s));
  }
  return text;
}

std::string PeerTable(const BenchFigures& figures) {
  std::string text = fmt::format("{:>10} {:>12} {:>9} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
                                 "Heap", "First frozen", "total", "criu frozen", "total", "+ zstd",
                                 "gcore", "restore", "answer");
  for (const HeapFigures& heap : figures.heaps) {
    text += fmt::format("{:>10} {:>9.1f} ms {:>7.2f} s", SizeText(heap.heap_bytes),
                        heap.first_frozen_ms, heap.first_seconds);
    if (heap.criu_seconds > 0) {
      text +=
          fmt::format(" {:>9.1f} ms {:>7.2f} s {:>9} {:>9} {:>7.2f} s {:>7.2f} s",
                      heap.criu_frozen_ms, heap.criu_seconds, SecondsText(DumpAndCompress(heap)),
                      SecondsText(heap.gcore_seconds), heap.criu_restore_s, heap.criu_answered_s);
    }
    text += "\n";
  }
  return text;
}

ordered_json HeapJson(const HeapFigures& heap) {
  ordered_json document = {{"message_type", "bench_heap"},
                           {"heap_bytes", heap.heap_bytes},
                           {"first_frozen_ms", heap.first_frozen_ms},
                           {"first_seconds", heap.first_seconds},
                           {"criu_frozen_ms", heap.criu_frozen_ms},
                           {"criu_seconds", heap.criu_seconds},
                           {"criu_restore_seconds", heap.criu_restore_s},
                           {"criu_answer_seconds", heap.criu_answered_s}};
  if (heap.zstd_seconds) document["zstd_seconds"] = *heap.zstd_seconds;
  if (heap.gcore_seconds) document["gcore_seconds"] = *heap.gcore_seconds;
  return document;
}

ordered_json CheckpointJson(const CheckpointFigures& row, const HeapFigures& heap) {
  ordered_json document = {{"message_type", "bench_checkpoint"},
                           {"heap_bytes", row.heap_bytes},
                           {"dirty_percent", row.dirty_percent},
                           {"frozen_ms", row.frozen_ms},
                           {"seconds", row.seconds},
                           {"bytes_captured", row.bytes_captured},
                           {"bytes_read", row.bytes_read},
                           {"bytes_new", row.bytes_new},
                           {"bytes_stored", row.bytes_stored},
                           {"stored_ratio", row.stored_ratio},
                           {"resumed_seconds", row.resumed_s},
                           {"answer_seconds", row.answered_s},
                           {"frozen_ratio", Ratio(row.frozen_ms, heap.criu_frozen_ms)},
                           {"resumed_ratio", Ratio(row.answered_s, heap.criu_answered_s)}};
  if (row.lazily_answered_s) document["lazy_answer_seconds"] = *row.lazily_answered_s;
  return document;
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string BenchText(const BenchFigures& figures) {
  std::string text = fmt::format(
      "Medians of {}, CRIU {}, repository {}\n\nCheckpoints\n{}\nOthers, to a tmpfs\n{}",
      figures.rounds, figures.criu_version, figures.repository, CheckpointTable(figures),
      PeerTable(figures));
  if (figures.cost) {
    text += fmt::format(
        "\nCost to an application of {} that changes {} % of it in each {:.0f} s: {:.1f} % of its "
        "speed ({:.0f} pages/s with a checkpoint in each, {:.0f} without)\n",
        SizeText(figures.cost->heap_bytes), figures.cost->dirty_percent, figures.cost->interval_s,
        figures.cost->LossPercent(), figures.cost->reads_with, figures.cost->reads_without);
  }
  return text;
}

std::string BenchJson(const BenchFigures& figures) {
  std::string text;
  for (const HeapFigures& heap : figures.heaps) text += HeapJson(heap).dump() + "\n";
  for (const CheckpointFigures& row : figures.checkpoints) {
    text += CheckpointJson(row, HeapOf(figures, row.heap_bytes)).dump() + "\n";
  }
  if (figures.cost) {
    text += ordered_json({{"message_type", "bench_cost"},
                          {"heap_bytes", figures.cost->heap_bytes},
                          {"dirty_percent", figures.cost->dirty_percent},
                          {"interval_seconds", figures.cost->interval_s},
                          {"reads_per_second_without", figures.cost->reads_without},
                          {"reads_per_second_with", figures.cost->reads_with},
                          {"loss_percent", figures.cost->LossPercent()}})
                .dump() +
            "\n";
  }
  return text;
}

}  // namespace snapstore::agent
