#include "tests/chunker/chunker_testlib.h"

namespace snapstore {
namespace {

TEST(IsZero, SeesASingleBitAnywhere) {
  for (const size_t size : {1, 7, 8, 9, 63, 511, 512, 513, 1024, 4096, 5003}) {
    Bytes bytes(size + 1);
    const MutableByteSpan window = MutableByteSpan(bytes).subspan(1);  // unaligned
    EXPECT_TRUE(IsZero(window)) << size;
    for (size_t at = 0; at < size; ++at) {
      window[at] = static_cast<uint8_t>(1 << (at % 8));
      ASSERT_FALSE(IsZero(window)) << size << " at " << at;
      window[at] = 0;
    }
  }
  EXPECT_TRUE(IsZero({}));
}

}  // namespace
}  // namespace snapstore
