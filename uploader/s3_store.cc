#include "uploader/s3_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "uploader/s3/checksum.h"
#include "uploader/s3/s3_xml.h"

namespace snapstore {
namespace {

constexpr size_t kPieceBytes = 8 << 20;
constexpr size_t kPiecesAtOnce = 8;
// One connection to S3 carries some 100 MB/s, four as much as two cores compress.
constexpr unsigned kPutsAtOnce = 4;
// Reads wait for the server most of the time: 16 of 4 MiB at 20 ms are 3 GB/s.
constexpr unsigned kGetsAtOnce = 16;
constexpr uint64_t kPartBytesMin = 5 << 20;  // of all parts but the last
constexpr size_t kPrefixBytesMax = 700;      // S3's keys have 1024 at most, the store's own 255
constexpr size_t kAnswerBytesMax = 16 << 20;
constexpr int kStatAttempts = 3;
constexpr uint64_t kObjectBytesMax = uint64_t{1} << 62;
constexpr const char* kPageKeys = "1000";
constexpr int kGetAttempts = 3;

// RFC 1123 names, and what AWS takes for buckets.
bool ValidBucket(const std::string& name) {
  constexpr size_t kMin = 3;
  constexpr size_t kMax = 63;
  return name.size() >= kMin && name.size() <= kMax &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == std::string::npos &&
         name.front() != '.' && name.front() != '-' && name.back() != '-' && name.back() != '.';
}

Status TestOptions(const S3Options& options) {
  if (!ValidBucket(options.bucket)) {
    return Status::InvalidArgument("'" + options.bucket +
                                   "' is no name for a bucket: 3 to 63 of a-z, 0-9, '-' and '.'");
  }
  if (!options.endpoint.empty()) {
    if (const Result<Url> url = ParseUrl(options.endpoint); !url.ok()) {
      return url.status().WithContext("S3 endpoint");
    }
  }
  const bool controls = std::any_of(options.prefix.begin(), options.prefix.end(),
                                    [](unsigned char c) { return c < ' ' || c == 0x7f; });
  if (controls || options.prefix.size() > kPrefixBytesMax) {
    return Status::InvalidArgument(
        "the path within a bucket has at most 700 bytes, and no control characters");
  }
  if (options.part_bytes < kPartBytesMin) {
    return Status::InvalidArgument("parts of an upload have 5 MiB at least");
  }
  return {};
}

Result<uint64_t> ContentLength(const HttpResponse& response) {
  const std::string_view text = response.Header("content-length");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    return Status::Io("the server does not say how large the object is");
  }
  return value;
}

// Whether an answer holds the `bytes` from `offset` that were asked for. Corruption: the object has
// fewer; Io: the answer is not what it should be.
Status TestRange(const HttpResponse& response, uint64_t offset, uint64_t bytes) {
  // "bytes 5-9/10"; the whole size may be "*".
  const std::string_view text = response.Header("content-range");
  const std::string begin = fmt::format("bytes {}-", offset);
  uint64_t last = 0;
  if (response.status != HttpStatus::kPartialContent || !text.starts_with(begin) ||
      std::from_chars(text.data() + begin.size(), text.data() + text.size(), last).ec !=
          std::errc() ||
      last - offset + 1 != response.received || last - offset >= bytes) {
    return Status::Io("the server did not send the range asked for");
  }
  if (response.received == bytes) return {};
  return Status::Corruption(fmt::format("the object ends at byte {}", last + 1));
}

// A page must not begin before the end of the one before it: keys are listed in their order.
Status TestOrder(const S3ListPage& page, const std::string& last) {
  if (last.empty() || page.objects.empty() || page.objects.front().key > last) return {};
  return Status::Io("the server sent a page of the list again");
}

}  // namespace

Result<std::unique_ptr<S3Store>> S3Store::Open(S3Options options,
                                               std::shared_ptr<AwsCredentialChain> credentials,
                                               std::function<bool()> cancelled) {
  SNAP_RETURN_IF_ERROR(TestOptions(options));
  if (!options.prefix.empty() && !options.prefix.ends_with('/')) options.prefix.push_back('/');
  return std::unique_ptr<S3Store>(
      new S3Store(std::move(options), std::move(credentials), std::move(cancelled)));
}

S3Store::S3Store(S3Options options, std::shared_ptr<AwsCredentialChain> credentials,
                 std::function<bool()> cancelled)
    : client_(std::move(options), std::move(credentials), std::move(cancelled)) {}

std::string S3Store::Describe() const {
  return "s3://" + options().bucket + "/" + options().prefix;
}

unsigned S3Store::PutsAtOnce() const { return std::clamp(options().connections, 1u, kPutsAtOnce); }

unsigned S3Store::GetsAtOnce() const { return std::clamp(options().connections, 1u, kGetsAtOnce); }

S3Checksum S3Store::UsedChecksum() const {
  if (options().checksum != S3Checksum::kAuto) return options().checksum;
  return options().endpoint.empty() ? S3Checksum::kSha256 : S3Checksum::kNone;
}

Status S3Store::Explain(const S3Error& error, const std::string& what) const {
  return ToStatus(error).WithContext(what);
}

std::vector<HttpHeader> S3Store::KeepingHeaders(const ObjectKey& key) const {
  std::vector<HttpHeader> headers;
  if (!options().storage_class.empty() && IsData(key)) {
    headers.push_back({"x-amz-storage-class", options().storage_class});
  }
  if (!options().encryption.empty()) {
    headers.push_back({"x-amz-server-side-encryption", options().encryption});
  }
  if (!options().kms_key_id.empty()) {
    headers.push_back({"x-amz-server-side-encryption-aws-kms-key-id", options().kms_key_id});
  }
  return headers;
}

Result<PutOutcome> S3Store::PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) {
  return TotalBytes(parts) > options().multipart_bytes ? PutInParts(key, parts)
                                                       : PutWhole(key, parts);
}

Result<PutOutcome> S3Store::PutWhole(const ObjectKey& key, std::span<const ByteSpan> parts) {
  const std::string what = "put " + key.text();
  S3Call call{.method = "PUT",
              .key = FullKey(key),
              .body = parts,
              .body_sha256 = Sha256::OfParts(parts).ToHex(),
              .data_object = IsData(key)};
  const std::vector<HttpHeader> kept = KeepingHeaders(key);
  const std::vector<HttpHeader> checksum = ChecksumHeaders(UsedChecksum(), parts, call.body_sha256);
  while (true) {
    const bool conditional = conditional_put_;
    call.headers = kept;
    call.headers.insert(call.headers.end(), checksum.begin(), checksum.end());
    if (conditional) {
      call.headers.push_back({"If-None-Match", "*"});
    } else {
      // Should the bucket be what is missing, then the PUT says so.
      SNAP_ASSIGN_OR_RETURN(const S3Answer there,
                            client_.Call({.method = "HEAD", .key = call.key}));
      if (!there.error.has_value()) return PutOutcome::kExisted;
      if (there.error->http_status != HttpStatus::kNotFound) return Explain(*there.error, what);
    }
    SNAP_ASSIGN_OR_RETURN(const S3Answer answer, client_.Call(call));
    if (!answer.error.has_value()) return PutOutcome::kCreated;
    // Also what a PUT meets that was done, but whose answer was lost.
    if (answer.error->http_status == HttpStatus::kPreconditionFailed) return PutOutcome::kExisted;
    if (answer.error->http_status != HttpStatus::kNotImplemented || !conditional) {
      return Explain(*answer.error, what);
    }
    LogDebug("{} knows no conditional PUT: asking before writing", client_.Address());
    conditional_put_ = false;
  }
}

Status S3Store::GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) {
  if (out.empty()) return {};
  // Beyond what a server can count, and so beyond any object.
  if (offset > kObjectBytesMax - out.size()) {
    SNAP_ASSIGN_OR_RETURN(const ObjectInfo there, Stat(key));
    return Status::Corruption(
        fmt::format("get {}: the object ends at byte {}", there.key, there.size));
  }
  std::vector<MutableByteSpan> pieces;
  for (size_t at = 0; at < out.size();) {
    // Nearly equal pieces: all of them arrive at about the same time.
    const size_t left = (out.size() - at + kPieceBytes - 1) / kPieceBytes;
    const size_t bytes = (out.size() - at + left - 1) / left;
    pieces.push_back(out.subspan(at, bytes));
    at += bytes;
  }
  for (size_t at = 0; at < pieces.size(); at += kPiecesAtOnce) {
    const auto some = std::span(pieces).subspan(at, std::min(kPiecesAtOnce, pieces.size() - at));
    SNAP_RETURN_IF_ERROR(GetPieces(key, offset + (some.front().data() - out.data()), some));
  }
  return {};
}

Status S3Store::GetPieces(const ObjectKey& key, uint64_t offset,
                          std::span<const MutableByteSpan> pieces) {
  const std::string what = "get " + key.text();
  std::vector<S3Call> calls;
  calls.reserve(pieces.size());
  uint64_t at = offset;
  for (const MutableByteSpan piece : pieces) {
    calls.push_back({.method = "GET",
                     .key = FullKey(key),
                     .headers = {{"Range", fmt::format("bytes={}-{}", at, at + piece.size() - 1)}},
                     .into = piece,
                     .accept =
                         [at, piece](const HttpResponse& response) {
                           return TestRange(response, at, piece.size());
                         },
                     .data_object = IsData(key)});
    at += piece.size();
  }
  at = offset;
  const std::vector<Result<S3Answer>> answers = client_.CallMany(calls);
  for (size_t n = 0; n < pieces.size(); at += pieces[n].size(), ++n) {
    if (!answers[n].ok()) return answers[n].status();
    if (!answers[n]->error.has_value()) continue;
    const S3Error& error = *answers[n]->error;
    if (error.http_status == HttpStatus::kRangeNotSatisfiable) {
      return Status::Corruption(what + ": the object ends before byte " + std::to_string(at));
    }
    return Explain(error, what);
  }
  return {};
}

Result<Bytes> S3Store::Get(const ObjectKey& key, size_t bytes_max) {
  const std::string what = "get " + key.text();
  S3Call call{
      .method = "GET", .key = FullKey(key), .body_max = bytes_max, .data_object = IsData(key)};
  // Ranges come without: a checksum is of a whole object.
  if (UsedChecksum() != S3Checksum::kNone) {
    call.headers.push_back({"x-amz-checksum-mode", "ENABLED"});
  }
  for (int attempt = 0; attempt < kGetAttempts; ++attempt) {
    SNAP_ASSIGN_OR_RETURN(S3Answer answer, client_.Call(call));
    if (answer.error.has_value()) return Explain(*answer.error, what);
    if (MatchesChecksums(answer.response, answer.response.body)) {
      return std::move(answer.response.body);
    }
    LogWarning("{}: what arrived is not what the server's checksum is of", what);
  }
  return Status::Corruption(what + ": the server's own checksum does not fit what it sends");
}

Result<ObjectInfo> S3Store::Stat(const ObjectKey& key) {
  const std::string what = "stat " + key.text();
  // Another one may put or delete the object between the two questions.
  for (int attempt = 0; attempt < kStatAttempts; ++attempt) {
    SNAP_ASSIGN_OR_RETURN(const S3Answer answer,
                          client_.Call({.method = "HEAD", .key = FullKey(key)}));
    if (!answer.error.has_value()) {
      const Result<uint64_t> size = ContentLength(answer.response);
      if (!size.ok()) return size.status().WithContext(what);
      const Result<int64_t> modified = ParseHttpDate(answer.response.Header("last-modified"));
      if (!modified.ok()) return modified.status().WithContext(what);
      return ObjectInfo{key.text(), *size, *modified};
    }
    if (answer.error->http_status != HttpStatus::kNotFound) return Explain(*answer.error, what);
    // HEAD has no body to tell a missing key from a missing bucket.
    uint8_t byte = 0;
    SNAP_ASSIGN_OR_RETURN(const S3Answer told, client_.Call({.method = "GET",
                                                             .key = FullKey(key),
                                                             .headers = {{"Range", "bytes=0-0"}},
                                                             .into = {&byte, 1}}));
    const bool there =
        !told.error.has_value() || told.error->http_status == HttpStatus::kRangeNotSatisfiable;
    if (!there) return Explain(*told.error, what);
  }
  return Status::Io(what + ": the server says both that the object is there and that it is not");
}

Status S3Store::List(std::string_view prefix,
                     const std::function<Status(const ObjectInfo&)>& visit) {
  const std::string what = "list " + Describe() + std::string(prefix);
  std::string token;
  std::string last;  // key of the pages before
  do {
    S3ListPage page;
    S3Call call{.method = "GET",
                .query = {{"list-type", "2"},
                          {"encoding-type", "url"},
                          {"max-keys", kPageKeys},
                          {"prefix", options().prefix + std::string(prefix)}},
                .body_max = kAnswerBytesMax,
                .accept = [&](const HttpResponse& response) -> Status {
                  SNAP_ASSIGN_OR_RETURN(page, ParseListPage(response.body));
                  return TestOrder(page, last);
                }};
    if (!token.empty()) call.query.emplace_back("continuation-token", token);
    SNAP_ASSIGN_OR_RETURN(const S3Answer answer, client_.Call(call));
    if (answer.error.has_value()) return Explain(*answer.error, what);
    for (S3ListPage::Object& object : page.objects) {
      if (!object.key.starts_with(options().prefix)) continue;
      last = std::max(last, object.key);
      Result<ObjectKey> key = ObjectKey::Parse(object.key.substr(options().prefix.size()));
      if (!key.ok() || !key->text().starts_with(prefix)) continue;
      SNAP_RETURN_IF_ERROR(visit({key->text(), object.size, object.modified_ns}));
    }
    if (!page.next_token.empty() && page.next_token == token) {
      return Status::Io(what + ": the server sends the same page again and again");
    }
    token = page.next_token;
  } while (!token.empty());
  return {};
}

Status S3Store::Delete(const ObjectKey& key) {
  // DELETE succeeds whether or not there was anything.
  SNAP_ASSIGN_OR_RETURN(const ObjectInfo there, Stat(key));
  SNAP_ASSIGN_OR_RETURN(const S3Answer answer,
                        client_.Call({.method = "DELETE", .key = FullKey(key)}));
  return answer.error.has_value() ? Explain(*answer.error, "delete " + there.key) : Status();
}

}  // namespace snapstore
