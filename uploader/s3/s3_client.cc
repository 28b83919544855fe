#include "uploader/s3/s3_client.h"

#include <algorithm>
#include <ctime>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr const char* kFirstRegion = "us-east-1";

std::string RegionOr(const std::string& region) { return region.empty() ? kFirstRegion : region; }

std::string AwsEndpoint(const std::string& region) {
  const std::string suffix = region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
  return "https://s3." + region + suffix;
}

// Seconds since 1970 of "Sat, 21 Nov 2026 19:48:04 GMT" (RFC 9110, section 5.6.7); 0 if it is not.
int64_t ParseHttpDate(std::string_view text) {
  std::tm utc{};
  const std::string copy(text);
  return strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &utc) == nullptr ? 0 : timegm(&utc);
}

uint64_t BodyBytes(const S3Call& call) {
  uint64_t bytes = 0;
  for (const ByteSpan part : call.body) bytes += part.size();
  return bytes;
}

std::string Describe(const S3Call& call) {
  return call.method + " " + (call.key.empty() ? "bucket" : call.key);
}

}  // namespace

S3Client::S3Client(S3Options options, std::shared_ptr<AwsCredentialChain> credentials,
                   std::function<bool()> cancelled)
    : options_(std::move(options)),
      credentials_(std::move(credentials)),
      upload_limit_(options_.upload_bytes_per_second),
      download_limit_(options_.download_bytes_per_second),
      http_({.ca_file = options_.ca_file,
             .upload_limit = options_.upload_bytes_per_second == 0 ? nullptr : &upload_limit_,
             .download_limit = options_.download_bytes_per_second == 0 ? nullptr : &download_limit_,
             .cancelled = cancelled}),
      retry_{.deadline = options_.retry_deadline, .cancelled = std::move(cancelled)},
      concurrency_(std::max(1u, options_.connections)),
      place_{RegionOr(options_.region), options_.endpoint.empty()
                                            ? AwsEndpoint(RegionOr(options_.region))
                                            : options_.endpoint} {}

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
  const Url url = AddressOf(place, call.key);
  SigV4Request to_sign{
      .method = call.method,
      .path = url.path,
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

bool S3Client::MoveTo(const S3Error& error) {
  const std::lock_guard lock(place_mutex_);
  if (error.region == place_.region) return false;
  LogDebug("bucket {} is in region {}, not {}", options_.bucket, error.region, place_.region);
  place_.region = error.region;
  if (options_.endpoint.empty()) place_.endpoint = AwsEndpoint(error.region);
  return true;
}

void S3Client::AdoptClock(const HttpResponse& response) {
  const int64_t server = ParseHttpDate(response.Header("date"));
  if (server == 0) return;
  clock_offset_ns_ = server * kNanosPerSecond - WallNanos();
  LogWarning("this machine's clock is {:.0f} s ahead of the S3 server's", ClockAheadSeconds());
}

void S3Client::Count(const S3Call& call, const Result<HttpResponse>& response) {
  if (call.method == "DELETE") {
    ++usage_.deletes;
  } else if (call.method == "HEAD" || (call.method == "GET" && !call.key.empty())) {
    ++usage_.reads;
  } else {
    ++usage_.writes;
  }
  usage_.bytes_up += BodyBytes(call);
  if (response.ok()) usage_.bytes_down += response->received + response->body.size();
}

S3Client::Verdict S3Client::Judge(const S3Call& call, const Signed& sent,
                                  Result<HttpResponse> response, bool* renewed) {
  Verdict verdict;
  Count(call, response);
  if (!response.ok()) {
    verdict.failure = response.status();
    if (!IsTransient(verdict.failure)) verdict.final = verdict.failure;
    return verdict;
  }
  if (response->Successful()) {
    verdict.final = S3Answer{std::move(*response), std::nullopt};
    return verdict;
  }
  S3Error error = ParseS3Error(*response);
  verdict.failure = ToStatus(error);
  switch (RemedyFor(error)) {
    case S3Remedy::kRetry:
      return verdict;
    case S3Remedy::kSlowDown:
      ++usage_.throttled;
      verdict.throttled = true;
      return verdict;
    case S3Remedy::kNewCredentials:
      // Once: a server that goes on refusing fresh ones means something else.
      if (!*renewed) {
        credentials_->Invalidate(sent.credentials);
        *renewed = verdict.at_once = true;
        return verdict;
      }
      break;
    case S3Remedy::kCorrectClock:
      if (!*renewed) {
        AdoptClock(*response);
        *renewed = verdict.at_once = true;
        return verdict;
      }
      break;
    case S3Remedy::kOtherRegion:
      if (MoveTo(error)) {
        verdict.at_once = true;
        return verdict;
      }
      break;
    case S3Remedy::kNone:
      break;
  }
  verdict.final = S3Answer{std::move(*response), std::move(error)};
  return verdict;
}

Result<S3Answer> S3Client::Call(const S3Call& call) {
  S3Call hashed = call;
  if (hashed.body_sha256.empty()) hashed.body_sha256 = Sha256::OfParts(call.body).ToHex();
  bool renewed = false;
  for (Backoff backoff(retry_);;) {
    SNAP_ASSIGN_OR_RETURN(const Signed made, Sign(hashed));
    concurrency_.Acquire();
    Result<HttpResponse> response = http_.Send(made.request);
    Verdict verdict = Judge(hashed, made, std::move(response), &renewed);
    concurrency_.Release(verdict.throttled);
    if (verdict.final.has_value()) return *std::move(verdict.final);
    ++usage_.retries;
    if (verdict.at_once) continue;
    LogDebug("{}: {}", Describe(call), verdict.failure.message());
    SNAP_RETURN_IF_ERROR(backoff.Wait(verdict.failure));
  }
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
    std::vector<std::optional<Result<S3Answer>>> finals(places, std::nullopt);
    for (unsigned n = 0; n < places; ++n) {
      bool renewed = false;
      bool throttled = false;
      if (!failure.ok()) {
        finals[n] = failure;
      } else {
        Verdict verdict = Judge(hashed[n], made[n], std::move(responses[n]), &renewed);
        throttled = verdict.throttled;
        finals[n] = std::move(verdict.final);
      }
      concurrency_.Release(throttled);
    }
    // What has to be tried again goes on by itself.
    for (unsigned n = 0; n < places; ++n) {
      if (!finals[n].has_value()) ++usage_.retries;
      answers.push_back(finals[n].has_value() ? *std::move(finals[n]) : Call(hashed[n]));
    }
    at += places;
  }
  return answers;
}

S3Usage S3Client::Usage() const {
  return {.writes = usage_.writes,
          .reads = usage_.reads,
          .deletes = usage_.deletes,
          .retries = usage_.retries,
          .throttled = usage_.throttled,
          .bytes_up = usage_.bytes_up,
          .bytes_down = usage_.bytes_down};
}

}  // namespace snapstore
