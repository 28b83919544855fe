// The part of S3Store that uploads large objects in parts.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/status_macros.h"
#include "uploader/s3/s3_xml.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

constexpr size_t kPartsAtOnce = 4;
constexpr size_t kPartsMax = 10'000;

// The bytes [offset, offset + length) of the concatenation.
std::vector<ByteSpan> Slice(std::span<const ByteSpan> parts, uint64_t offset, uint64_t length) {
  std::vector<ByteSpan> out;
  for (const ByteSpan part : parts) {
    if (offset >= part.size()) {
      offset -= part.size();
      continue;
    }
    const size_t bytes = std::min<uint64_t>(part.size() - offset, length);
    if (bytes > 0) out.push_back(part.subspan(offset, bytes));
    length -= bytes;
    offset = 0;
  }
  return out;
}

}  // namespace

Result<PutOutcome> S3Store::PutInParts(const ObjectKey& key, std::span<const ByteSpan> parts) {
  const std::string what = "put " + key.text() + " in parts";
  // The condition stands with the last request, and not every server heeds it there.
  const Result<ObjectInfo> there = Stat(key);
  if (there.ok()) return PutOutcome::kExisted;
  if (!there.status().Is(StatusCode::kNotFound)) return there.status();
  SNAP_ASSIGN_OR_RETURN(const S3Answer begun, client_.Call({.method = "POST",
                                                            .key = FullKey(key),
                                                            .query = {{"uploads", ""}},
                                                            .headers = KeepingHeaders(key),
                                                            .data_object = IsData(key)}));
  if (begun.error.has_value()) return Explain(*begun.error, what);
  SNAP_ASSIGN_OR_RETURN(const std::string upload, ParseUploadId(begun.response.body));

  const Result<std::vector<std::string>> etags = UploadParts(key, upload, parts);
  Result<PutOutcome> outcome = etags.ok() ? CompleteUpload(key, upload, *etags, TotalBytes(parts))
                                          : Result<PutOutcome>(etags.status());
  if (outcome.ok() && *outcome == PutOutcome::kCreated) return outcome;
  if (const Status aborted = AbortUpload(FullKey(key), upload); !aborted.ok()) {
    LogWarning("upload {} of {} could not be aborted ({}); 'snapstore prune' ends what is left",
               upload, key.text(), aborted.message());
  }
  if (!outcome.ok()) return outcome.status().WithContext(what);
  return outcome;
}

Result<PutOutcome> S3Store::CompleteUpload(const ObjectKey& key, const std::string& upload,
                                           const std::vector<std::string>& etags, uint64_t bytes) {
  const std::string body = CompleteUploadXml(etags);
  const ByteSpan span = AsBytes(body);
  S3Call call{.method = "POST",
              .key = FullKey(key),
              .query = {{"uploadId", upload}},
              .headers = {{"If-None-Match", "*"}},
              .body = {&span, 1},
              .data_object = IsData(key)};
  for (Backoff backoff(client_.retry());;) {
    SNAP_ASSIGN_OR_RETURN(const S3Answer answer, client_.Call(call));
    if (!answer.error.has_value()) {
      // 200 may stand before an error: the server begins to answer while it still works.
      const Status status = ParseCompletion(answer.response.body);
      if (status.ok()) return PutOutcome::kCreated;
      if (!IsTransient(status)) return status;
      SNAP_RETURN_IF_ERROR(backoff.Wait(status));
      continue;
    }
    const S3Error& error = *answer.error;
    if (error.http_status == HttpStatus::kPreconditionFailed) return PutOutcome::kExisted;
    if (error.http_status == HttpStatus::kNotImplemented && !call.headers.empty()) {
      call.headers.clear();
      continue;
    }
    if (error.code != "NoSuchUpload") return ToStatus(error);
    // An attempt whose answer was lost may have completed it.
    const Result<ObjectInfo> there = Stat(key);
    if (there.ok() && there->size == bytes) return PutOutcome::kCreated;
    if (!there.ok() && !there.status().Is(StatusCode::kNotFound)) return there.status();
    return Status::Io("the upload in parts of " + key.text() + " is gone: " + error.message);
  }
}

Result<std::vector<std::string>> S3Store::UploadParts(const ObjectKey& key,
                                                      const std::string& upload,
                                                      std::span<const ByteSpan> parts) {
  const uint64_t total = TotalBytes(parts);
  const uint64_t part_bytes = std::max(options().part_bytes, (total + kPartsMax - 1) / kPartsMax);
  std::vector<std::string> etags;
  for (uint64_t offset = 0; offset < total;) {
    std::vector<std::vector<ByteSpan>> slices;
    for (; offset < total && slices.size() < kPartsAtOnce; offset += part_bytes) {
      slices.push_back(Slice(parts, offset, part_bytes));
    }
    std::vector<S3Call> calls;
    calls.reserve(slices.size());
    for (const std::vector<ByteSpan>& slice : slices) {
      calls.push_back({.method = "PUT",
                       .key = FullKey(key),
                       .query = {{"partNumber", std::to_string(etags.size() + calls.size() + 1)},
                                 {"uploadId", upload}},
                       .body = slice,
                       .data_object = IsData(key)});
    }
    for (const Result<S3Answer>& answer : client_.CallMany(calls)) {
      if (!answer.ok()) return answer.status();
      if (answer->error.has_value()) return ToStatus(*answer->error);
      etags.emplace_back(answer->response.Header("etag"));
      if (etags.back().empty()) return Status::Io("the server names no ETag of a part");
    }
  }
  return etags;
}

}  // namespace snapstore
