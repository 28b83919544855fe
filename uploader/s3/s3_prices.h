// S3Prices: what requests cost, for the estimate in summaries. Storage is not in it.
// Source: "Amazon S3 pricing", requests and data retrievals, region us-east-1, as of November 2026.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_S3_S3_PRICES_H_
#define SNAPSTORE_UPLOADER_S3_S3_PRICES_H_

#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

// All in US dollars.
struct S3Prices {
  double writes = 0.005;  // 1000 of PUT, COPY, POST and LIST
  double reads = 0.0004;  // 1000 of GET and HEAD
  // A GiB that is read: what some classes take for retrieval. Transfer within a region is free; for
  // transfer to the internet this is too little.
  double down = 0;
};

// Of a storage class, "" for the default; those of STANDARD for a class that is not in the list.
S3Prices S3PricesOf(std::string_view storage_class);

// "WRITES,READS,DOWN" as above, e.g. "0.005,0.0004,0.09".
Result<S3Prices> ParseS3Prices(const std::string& text);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_S3_PRICES_H_
