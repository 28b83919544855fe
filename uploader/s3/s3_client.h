// S3Client: signed requests to one bucket, tried again as long as that makes sense.
//
// It looks after what every request needs: address and signature, fresh credentials, a clock that
// is wrong, a bucket in another region, servers that ask for less, lost connections. What an answer
// means for an object is S3Store's.
// Source: Amazon S3 API Reference.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_S3_S3_CLIENT_H_
#define SNAPSTORE_UPLOADER_S3_S3_CLIENT_H_

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snapstore/store_usage.h"
#include "uploader/aws/credentials.h"
#include "uploader/http/http_client.h"
#include "uploader/retry.h"
#include "uploader/s3/concurrency_limit.h"
#include "uploader/s3/s3_error.h"
#include "uploader/s3/s3_options.h"

namespace snapstore {

// Of a body that is sent in parts.
inline uint64_t TotalBytes(std::span<const ByteSpan> parts) {
  uint64_t bytes = 0;
  for (const ByteSpan part : parts) bytes += part.size();
  return bytes;
}

struct S3Call {
  std::string method = "GET";
  std::string key = {};  // empty: the bucket itself
  QueryParameters query = {};
  std::vector<HttpHeader> headers = {};  // all are signed
  std::span<const ByteSpan> body = {};
  std::string body_sha256 = {};  // hex; empty: computed
  MutableByteSpan into = {};
  size_t body_max = 1 << 20;
  // May be null. Says what is wrong with a success; what may pass is asked for again.
  std::function<Status(const HttpResponse&)> accept = nullptr;
  bool data_object = false;  // billed by the storage class of data
};

// Either a success or a refusal that trying again will not change.
struct S3Answer {
  HttpResponse response;
  std::optional<S3Error> error;
};

class S3Client {
 public:
  // `cancelled` may be null.
  S3Client(S3Options options, std::shared_ptr<AwsCredentialChain> credentials,
           std::function<bool()> cancelled);

  // An error: the answer is not known, or credentials could not be had.
  Result<S3Answer> Call(const S3Call& call);
  // All of them, several at a time; results in their order.
  std::vector<Result<S3Answer>> CallMany(std::span<const S3Call> calls);

  const S3Options& options() const { return options_; }
  StoreUsage Usage() const;

  // Whether the caps on bandwidth of the options are passed over, also by transfers under way.
  void LiftBandwidthLimits(bool lifted);
  const RetryPolicy& retry() const { return retry_; }
  AwsCredentialChain& credentials() { return *credentials_; }
  // Where the bucket is, as far as is known by now.
  std::string Region() const { return CurrentPlace().region; }
  // Requests at once that the server stands, as far as is known by now.
  unsigned RequestsAtOnce() const { return concurrency_.limit(); }
  // Seconds that this machine's clock is ahead of the server's, as far as that is known.
  double ClockAheadSeconds() const { return -static_cast<double>(clock_offset_ns_) / 1e9; }
  // "https://bucket.s3.eu-west-1.amazonaws.com", for people.
  std::string Address() const;

 private:
  struct Place {  // where the bucket is, as far as is known by now
    std::string region;
    std::string endpoint;
  };
  // A call made into a request, and what was used for it.
  struct Signed {
    HttpRequest request;
    AwsCredentials credentials;
    std::string region;
  };
  // How often one call was mended by what the server said. Bounded: a server may lie.
  struct Mended {
    int credentials = 0;
    int clock = 0;
    int region = 0;
  };
  // What to do with the answer to one attempt.
  struct Verdict {
    std::optional<Result<S3Answer>> final;
    Status failure;  // else: why it has to be tried again,
    bool throttled = false;
    bool at_once = false;               // whether waiting would not help,
    std::chrono::milliseconds wait{0};  // and how long the server wants to be left alone
  };

  Place CurrentPlace() const;
  Url AddressOf(const Place& place, const std::string& key) const;
  Result<Signed> Sign(const S3Call& call);
  Verdict Judge(const S3Call& call, const Signed& sent, Result<HttpResponse> response,
                Mended* mended);
  Verdict JudgeSuccess(const S3Call& call, HttpResponse response);
  // Whether the error could be mended, so that the call should be made again at once.
  bool Mend(const S3Error& error, const HttpResponse& response, const Signed& sent, Mended* mended);
  // Goes on after a first attempt with this verdict, or from the start without one. REQUIRES:
  // `call.body_sha256` is set.
  Result<S3Answer> Finish(const S3Call& call, std::optional<Verdict> verdict);
  // Before the next attempt; the error to end with when there is to be none.
  Status WaitAfter(const Verdict& verdict, Backoff* backoff);
  void MoveTo(const S3Error& error);
  void AdoptClock(const HttpResponse& response);
  void Count(const S3Call& call, const Result<HttpResponse>& response);

  const S3Options options_;
  const std::shared_ptr<AwsCredentialChain> credentials_;
  BandwidthLimit upload_limit_;
  BandwidthLimit download_limit_;
  HttpClient http_;
  const RetryPolicy retry_;
  ConcurrencyLimit concurrency_;
  const S3Prices data_prices_;
  const S3Prices other_prices_;
  mutable std::mutex place_mutex_;
  Place place_;                              // guarded by place_mutex_
  std::atomic<int64_t> clock_offset_ns_{0};  // server minus local
  std::atomic<bool> reached_{false};         // some server has answered
  std::atomic<int64_t> told_ns_{0};          // when the user was last told of trouble
  struct {
    std::atomic<uint64_t> writes{0}, reads{0}, deletes{0}, retries{0}, throttled{0};
    std::atomic<uint64_t> bytes_up{0}, bytes_down{0}, picodollars{0};
  } usage_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_S3_CLIENT_H_
