#include "tools/snapstore/progress_bar.h"

#include <gtest/gtest.h>

namespace snapstore::cli {
namespace {

TEST(ProgressBar, ShowsPhaseAmountShareRateAndTimeLeft) {
  Progress progress;
  progress.phase = "read";
  progress.bytes_done = 1ull << 30;
  progress.bytes_total = 4ull << 30;
  progress.items_done = 12;
  progress.current = "/data/db";
  EXPECT_EQ(FormatProgress(progress, 2, 200),
            "read  1.00 GiB / 4.00 GiB   25%  12 items  512 MiB/s  ETA 0:06  /data/db");
}

TEST(ProgressBar, CountsItemsWhenThereAreNoBytesAndLeavesOutWhatIsNotKnown) {
  Progress progress;
  progress.phase = "scan";
  progress.items_done = 7;
  EXPECT_EQ(FormatProgress(progress, 0.1, 80), "scan  7");
}

TEST(ProgressBar, FitsTheWidthAndLetsNoControlByteThrough) {
  Progress progress;
  progress.phase = "read";
  progress.current = "\x1b]0;evil\x07" + std::string(200, 'x');
  const std::string line = FormatProgress(progress, 1, 40);
  EXPECT_EQ(line.size(), 40u);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
}

TEST(ProgressBar, CutsBetweenCharactersNotInThem) {
  Progress progress;
  progress.phase = "ééééé";
  EXPECT_EQ(FormatProgress(progress, 0, 3), "ééé");
}

}  // namespace
}  // namespace snapstore::cli
