#include "uploader/s3/s3_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr const char* kFirstRegion = "us-east-1";
constexpr double kTroubleSeconds = 5;
constexpr int64_t kTellEveryNanos = 60 * kNanosPerSecond;
constexpr unsigned kRetryAfterSecondsMax = 60;
// Of its clock or its region, that a server gets to ask of one call.
constexpr int kCorrectionsMax = 3;
constexpr std::chrono::milliseconds kStallMin{2000};
// An error in a success stands at its beginning, after white space and an XML declaration.
constexpr size_t kErrorOffsetMax = 4096;
constexpr double kPico = 1e12;
constexpr double kPicoPerThousand = kPico / 1000;
constexpr double kPicoPerGib = kPico / (1 << 30);

std::string RegionOr(const std::string& region) { return region.empty() ? kFirstRegion : region; }

std::string AwsEndpoint(const std::string& region) {
  const std::string suffix = region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
  return "https://s3." + region + suffix;
}

bool IsMultiDelete(const S3Call& call) {
  return call.method == "POST" && !call.query.empty() && call.query.front().first == "delete";
}

// "get node-7/config"
std::string Describe(const S3Call& call) {
  std::string verb = call.method;
  for (char& c : verb) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (!call.key.empty()) return verb + " " + call.key;
  for (const auto& [name, value] : call.query) {
    if (name == "prefix") return "list " + value;
  }
  return verb + " bucket";
}

// Whether the document's root is an error; those of single keys stand deeper.
bool HoldsError(const HttpResponse& response) {
  std::string_view text = AsText(response.body).substr(0, kErrorOffsetMax);
  for (size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', 1)) {
    text.remove_prefix(at);
    if (!text.starts_with("<?") && !text.starts_with("<!")) return text.starts_with("<Error>");
  }
  return false;
}

// What the server asks for, in seconds (RFC 9110, section 10.2.3); dates are not heeded.
std::chrono::milliseconds RetryAfter(const HttpResponse& response) {
  const std::string_view text = response.Header("retry-after");
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return std::chrono::seconds(std::min(seconds, kRetryAfterSecondsMax));
}

}  // namespace

S3Client::S3Client(S3Options options, std::shared_ptr<AwsCredentialChain> credentials,
                   std::function<bool()> cancelled)
    : options_(std::move(options)),
      credentials_(std::move(credentials)),
      upload_limit_(options_.upload_bytes_per_second),
      download_limit_(options_.download_bytes_per_second),
      // A deadline leaves time for more than one attempt.
      http_({.stall_timeout = std::clamp(options_.retry_deadline / 2, kStallMin,
                                         HttpClientOptions().stall_timeout),
             .ca_file = options_.ca_file,
             .upload_limit = options_.upload_bytes_per_second == 0 ? nullptr : &upload_limit_,
             .download_limit = options_.download_bytes_per_second == 0 ? nullptr : &download_limit_,
             .cancelled = cancelled}),
      retry_{.deadline = options_.retry_deadline, .cancelled = std::move(cancelled)},
      concurrency_(std::max(1u, options_.connections)),
      data_prices_(options_.prices.value_or(S3PricesOf(options_.storage_class))),
      other_prices_(options_.prices.value_or(S3Prices())),
      place_{RegionOr(options_.region), options_.endpoint.empty()
                                            ? AwsEndpoint(RegionOr(options_.region))
                                            : options_.endpoint} {}

void S3Client::LiftBandwidthLimits(bool lifted) {
  upload_limit_.Set(lifted ? 0 : options_.upload_bytes_per_second);
  download_limit_.Set(lifted ? 0 : options_.download_bytes_per_second);
}

S3Client::Place S3Client::CurrentPlace() const {
  const std::lock_guard lock(place_mutex_);
  return place_;
}

Url S3Client::AddressOf(const Place& place, const std::string& key) const {
  const Result<Url> parsed = ParseUrl(place.endpoint);
  SNAP_CHECK(parsed.ok());  // tested when the store was opened
  Url url = *parsed;
  const bool dots = options_.bucket.find('.') != std::string::npos;
  const bool path_style =
      options_.addressing == S3Addressing::kPath ||
      (options_.addressing == S3Addressing::kAuto && (!options_.endpoint.empty() || dots));
  while (url.path.ends_with('/')) url.path.pop_back();
  if (path_style) {
    url.path += "/" + PercentEncode(options_.bucket);
  } else {
    url.host = options_.bucket + "." + url.host;
  }
  url.path += "/" + PercentEncode(key, /*keep_slash=*/true);
  return url;
}

std::string S3Client::Address() const {
  const Url url = AddressOf(CurrentPlace(), "");
  return url.Origin() + url.path;
}

Result<S3Client::Signed> S3Client::Sign(const S3Call& call) {
  Signed made;
  SNAP_ASSIGN_OR_RETURN(made.credentials, credentials_->Get());
  const Place place = CurrentPlace();
  made.region = place.region;
  const Url url = AddressOf(place, call.key);
  SigV4Request to_sign{
      .method = call.method,
      .path = url.path,
      .normalize_path = false,
      .query = call.query,
      .headers = {{"Host", url.Authority()}, {"X-Amz-Content-Sha256", call.body_sha256}},
      .payload_sha256 = call.body_sha256};
  to_sign.headers.insert(to_sign.headers.end(), call.headers.begin(), call.headers.end());
  if (options_.requester_pays) {
    to_sign.headers.push_back({"X-Amz-Request-Payer", "requester"});
  }
  const std::vector<HttpHeader> signature = SignInHeaders(
      to_sign, made.credentials, {place.region, "s3"}, WallNanos() + clock_offset_ns_);
  const std::string query = EncodeQuery(call.query);
  made.request = {.method = call.method,
                  .url = url.Origin() + url.path + (query.empty() ? "" : "?" + query),
                  .headers = std::move(to_sign.headers),
                  .body = call.body,
                  .into = call.into,
                  .body_max = call.body_max};
  made.request.headers.insert(made.request.headers.end(), signature.begin(), signature.end());
  return made;
}

void S3Client::MoveTo(const S3Error& error) {
  const std::lock_guard lock(place_mutex_);
  if (error.region == place_.region) return;  // another call was told before
  LogDebug("bucket {} is in region {}, not {}", options_.bucket, error.region, place_.region);
  place_.region = error.region;
  if (options_.endpoint.empty()) place_.endpoint = AwsEndpoint(error.region);
}

void S3Client::AdoptClock(const HttpResponse& response) {
  const Result<int64_t> server = ParseHttpDate(response.Header("date"));
  if (!server.ok()) return;
  clock_offset_ns_ = *server - WallNanos();
  LogWarning("this machine's clock is {:.0f} s ahead of the S3 server's", ClockAheadSeconds());
}

void S3Client::Count(const S3Call& call, const Result<HttpResponse>& response) {
  const S3Prices& prices = call.data_object ? data_prices_ : other_prices_;
  if (call.method == "DELETE" || IsMultiDelete(call)) {
    ++usage_.deletes;
  } else if (call.method == "HEAD" || (call.method == "GET" && !call.key.empty())) {
    ++usage_.reads;
    usage_.picodollars += static_cast<uint64_t>(prices.reads * kPicoPerThousand);
  } else {
    ++usage_.writes;
    usage_.picodollars += static_cast<uint64_t>(prices.writes * kPicoPerThousand);
  }
  usage_.bytes_up += TotalBytes(call.body);
  if (!response.ok()) return;
  const size_t down = response->received + response->body.size();
  usage_.bytes_down += down;
  usage_.picodollars +=
      static_cast<uint64_t>(prices.down * static_cast<double>(down) * kPicoPerGib);
}

bool S3Client::Mend(const S3Error& error, const HttpResponse& response, const Signed& sent,
                    Mended* mended) {
  switch (RemedyFor(error)) {
    case S3Remedy::kNewCredentials:
      // Once: a server that goes on refusing fresh ones means something else.
      if (mended->credentials++ > 0) return false;
      credentials_->Invalidate(sent.credentials);
      return true;
    case S3Remedy::kCorrectClock:
      if (mended->clock++ >= kCorrectionsMax) return false;
      AdoptClock(response);
      return true;
    case S3Remedy::kOtherRegion:
      if (error.region == sent.region || mended->region++ >= kCorrectionsMax) return false;
      MoveTo(error);
      return true;
    default:
      return false;
  }
}

S3Client::Verdict S3Client::JudgeSuccess(const S3Call& call, HttpResponse response) {
  Verdict verdict;
  // S3 may have begun its answer before it failed; objects' own content is not looked at, and the
  // answer to a multi-object delete names the keys that failed in the same way.
  if ((call.method != "GET" || call.key.empty()) && !IsMultiDelete(call) && HoldsError(response)) {
    verdict.failure = ToStatus(ParseS3Error(response));
  } else if (call.accept != nullptr) {
    verdict.failure = call.accept(response);
  }
  if (verdict.failure.ok()) {
    verdict.final = S3Answer{std::move(response), std::nullopt};
  } else if (!IsTransient(verdict.failure)) {
    verdict.final = verdict.failure.WithContext(Describe(call));
  }
  return verdict;
}

S3Client::Verdict S3Client::Judge(const S3Call& call, const Signed& sent,
                                  Result<HttpResponse> response, Mended* mended) {
  Count(call, response);
  LogDebug("{}: {}", Describe(call),
           response.ok() ? std::to_string(response->status) : response.status().message());
  if (response.ok()) reached_ = true;
  if (response.ok() && response->Successful()) return JudgeSuccess(call, std::move(*response));
  Verdict verdict;
  if (!response.ok()) {
    verdict.failure = response.status();
    if (!IsTransient(verdict.failure)) verdict.final = verdict.failure.WithContext(Describe(call));
    return verdict;
  }
  S3Error error = ParseS3Error(*response);
  verdict.failure = ToStatus(error);
  const S3Remedy remedy = RemedyFor(error);
  if (remedy == S3Remedy::kRetry) return verdict;
  if (remedy == S3Remedy::kSlowDown) {
    ++usage_.throttled;
    verdict.throttled = true;
    verdict.wait = RetryAfter(*response);
    return verdict;
  }
  verdict.at_once = Mend(error, *response, sent, mended);
  if (!verdict.at_once) verdict.final = S3Answer{std::move(*response), std::move(error)};
  return verdict;
}

Result<S3Answer> S3Client::Call(const S3Call& call) {
  S3Call hashed = call;
  if (hashed.body_sha256.empty()) hashed.body_sha256 = Sha256::OfParts(call.body).ToHex();
  return Finish(hashed, std::nullopt);
}

Result<S3Answer> S3Client::Finish(const S3Call& call, std::optional<Verdict> verdict) {
  Mended mended;
  Backoff backoff(retry_);
  while (true) {
    if (verdict.has_value()) {
      if (verdict->final.has_value()) return *std::move(verdict->final);
      ++usage_.retries;
      if (!verdict->at_once) {
        const Status waited = WaitAfter(*verdict, &backoff);
        if (!waited.ok()) return waited.WithContext(Describe(call));
      }
    }
    SNAP_ASSIGN_OR_RETURN(const Signed made, Sign(call));
    concurrency_.Acquire();
    Result<HttpResponse> response = http_.Send(made.request);
    verdict = Judge(call, made, std::move(response), &mended);
    concurrency_.Release(verdict->throttled);
  }
}

Status S3Client::WaitAfter(const Verdict& verdict, Backoff* backoff) {
  // An address that was never right is no passing trouble.
  const auto contact = std::chrono::duration<double>(options_.contact_deadline);
  if (!reached_ && backoff->Seconds() > contact.count()) {
    return verdict.failure.WithContext(fmt::format("no answer after {} attempts in {:.0f} s",
                                                   backoff->attempts() + 1, backoff->Seconds()));
  }
  const int64_t now = WallNanos();
  int64_t last = told_ns_;
  if (backoff->Seconds() > kTroubleSeconds && now - last > kTellEveryNanos &&
      told_ns_.compare_exchange_strong(last, now)) {
    LogWarning("{}: {}; still trying", Address(), verdict.failure.message());
  }
  return backoff->Wait(verdict.failure, verdict.wait);
}

std::vector<Result<S3Answer>> S3Client::CallMany(std::span<const S3Call> calls) {
  std::vector<Result<S3Answer>> answers;
  answers.reserve(calls.size());
  for (size_t at = 0; at < calls.size();) {
    const unsigned places = concurrency_.Acquire(static_cast<unsigned>(calls.size() - at));
    std::vector<Signed> made;
    std::vector<HttpRequest> requests;
    std::vector<S3Call> hashed(calls.begin() + at, calls.begin() + at + places);
    Status failure;
    for (S3Call& call : hashed) {
      if (call.body_sha256.empty()) call.body_sha256 = Sha256::OfParts(call.body).ToHex();
      Result<Signed> one = Sign(call);
      if (!one.ok()) {
        failure = one.status();
        break;
      }
      requests.push_back(one->request);
      made.push_back(std::move(*one));
    }
    std::vector<Result<HttpResponse>> responses;
    if (failure.ok()) responses = http_.SendAll(requests);
    std::vector<Verdict> verdicts(places);
    for (unsigned n = 0; n < places; ++n) {
      Mended mended;
      bool throttled = false;
      if (!failure.ok()) {
        verdicts[n].final = failure;
      } else {
        verdicts[n] = Judge(hashed[n], made[n], std::move(responses[n]), &mended);
        throttled = verdicts[n].throttled;
      }
      concurrency_.Release(throttled);
    }
    // What has to be tried again goes on by itself.
    for (unsigned n = 0; n < places; ++n) {
      answers.push_back(Finish(hashed[n], std::move(verdicts[n])));
    }
    at += places;
  }
  return answers;
}

StoreUsage S3Client::Usage() const {
  return {.metered = true,
          .writes = usage_.writes,
          .reads = usage_.reads,
          .deletes = usage_.deletes,
          .retries = usage_.retries,
          .throttled = usage_.throttled,
          .bytes_up = usage_.bytes_up,
          .bytes_down = usage_.bytes_down,
          .usd = static_cast<double>(usage_.picodollars) / kPico};
}

}  // namespace snapstore
