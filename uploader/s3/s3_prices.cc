#include "uploader/s3/s3_prices.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace snapstore {
namespace {

// Nobody asks more for a thousand requests or a GiB, in dollars.
constexpr double kPriceMax = 1000;

constexpr std::array<std::pair<std::string_view, S3Prices>, 4> kPrices = {{
    {"STANDARD_IA", {.writes = 0.01, .reads = 0.001, .down = 0.01}},
    {"ONEZONE_IA", {.writes = 0.01, .reads = 0.001, .down = 0.01}},
    {"GLACIER_IR", {.writes = 0.02, .reads = 0.01, .down = 0.03}},
    {"EXPRESS_ONEZONE", {.writes = 0.00113, .reads = 0.00003, .down = 0.0006}},
}};

}  // namespace

S3Prices S3PricesOf(std::string_view storage_class) {
  const auto it = std::find_if(kPrices.begin(), kPrices.end(),
                               [&](const auto& row) { return row.first == storage_class; });
  return it == kPrices.end() ? S3Prices() : it->second;
}

Result<S3Prices> ParseS3Prices(const std::string& text) {
  S3Prices prices;
  const Status wrong = Status::InvalidArgument(
      "'" + text + "' is not three prices: dollars for 1000 writes, 1000 reads, a GiB down");
  const std::array<double*, 3> fields = {&prices.writes, &prices.reads, &prices.down};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (size_t n = 0; n < fields.size(); ++n) {
    if (n > 0 && (at == end || *at++ != ',')) return wrong;
    const auto [next, error] = std::from_chars(at, end, *fields[n], std::chars_format::fixed);
    if (error != std::errc() || !(*fields[n] >= 0 && *fields[n] <= kPriceMax)) return wrong;
    at = next;
  }
  if (at != end) return wrong;
  return prices;
}

}  // namespace snapstore
