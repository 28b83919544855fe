// The part of S3Store that takes away: objects by the thousand, and uploads that nobody finished.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/base64.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "uploader/internal/delete_failures.h"
#include "uploader/s3/checksum.h"
#include "uploader/s3/s3_xml.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

constexpr size_t kKeysPerDelete = 1000;
// Swift and others delete one after the other and say nothing until they are done: a thousand would
// take longer than a connection may be silent.
constexpr size_t kKeysPerDeleteElsewhere = 100;
constexpr size_t kDeletesAtOnce = 16;
constexpr size_t kListBytesMax = 16 << 20;
constexpr const char* kPageUploads = "1000";

// AWS and Swift refuse a multi-delete without a digest of its body.
std::string ContentMd5(std::string_view body) {
  std::array<uint8_t, 16> digest;
  unsigned length = 0;
  SNAP_CHECK(EVP_Digest(body.data(), body.size(), digest.data(), &length, EVP_md5(), nullptr) == 1);
  SNAP_CHECK(length == digest.size());
  return Base64Encode(digest);
}

// Answers of servers that know no DeleteObjects.
bool KnowsNoMultiDelete(const S3Error& error) {
  return error.http_status == HttpStatus::kNotImplemented ||
         error.http_status == HttpStatus::kMethodNotAllowed;
}

}  // namespace

Status S3Store::DeleteMany(std::span<const ObjectKey> keys) {
  const size_t most = options().endpoint.empty() ? kKeysPerDelete : kKeysPerDeleteElsewhere;
  internal::DeleteFailures failures;
  for (size_t at = 0; at < keys.size();) {
    const size_t some = std::min(most, keys.size() - at);
    const bool go_on = multi_delete_ ? DeleteBatch(keys.subspan(at, some), &failures)
                                     : DeleteSingly(keys.subspan(at, some), &failures);
    at += some;
    if (!go_on) return failures.ToStatus(keys.size(), keys.size() - at);
  }
  return failures.ToStatus(keys.size());
}

bool S3Store::DeleteBatch(std::span<const ObjectKey> keys, internal::DeleteFailures* failures) {
  const auto all_failed = [&](const Status& status) {
    bool go_on = true;
    for (const ObjectKey& key : keys) go_on = failures->Add(key.text(), status) && go_on;
    return go_on;
  };
  std::map<std::string, const ObjectKey*> waiting;  // by full key
  for (const ObjectKey& key : keys) waiting.emplace(FullKey(key), &key);
  Backoff backoff(client_.retry());
  while (!waiting.empty()) {
    std::vector<std::string> names;
    names.reserve(waiting.size());
    for (const auto& [name, key] : waiting) names.push_back(name);
    const std::string xml = DeleteObjectsXml(names);
    const ByteSpan body = AsBytes(xml);
    const Result<S3Answer> answer = client_.Call(
        {.method = "POST",
         .query = {{"delete", ""}},
         .headers = {{"Content-MD5", ContentMd5(xml)}, {"Content-Type", "application/xml"}},
         .body = {&body, 1},
         .body_max = kListBytesMax,
         // A proxy on the way may end an answer early and call it a success.
         .accept = [](const HttpResponse& response) {
           return ParseDeletion(response.body).status();
         }});
    if (!answer.ok()) return all_failed(answer.status());
    if (answer->error.has_value()) {
      const Status refused = ToStatus(*answer->error);
      const bool forbidden = refused.Is(StatusCode::kPermissionDenied);
      if (!forbidden && !KnowsNoMultiDelete(*answer->error)) return all_failed(refused);
      // Ceph's gateway asks for the right to delete on the bucket before it looks at any key.
      // Whether that is all that is missing, one key tells.
      if (forbidden && !MayDelete(keys.front())) return all_failed(refused);
      LogDebug("{} does no DeleteObjects: deleting one by one", client_.Address());
      multi_delete_ = false;
      return DeleteSingly(keys, failures);
    }
    const Result<S3Deletion> deletion = ParseDeletion(answer->response.body);
    if (!deletion.ok()) return all_failed(deletion.status());
    for (const std::string& name : deletion->deleted) waiting.erase(name);
    Status transient;
    for (const auto& [name, error] : deletion->failed) {
      const auto it = waiting.find(name);
      if (it == waiting.end()) continue;
      const Status status = ToStatus(error);
      if (IsTransient(status)) {
        transient = status;
        continue;
      }
      (void)failures->Add(it->second->text(), status);
      waiting.erase(it);
    }
    if (waiting.empty()) break;
    if (transient.ok()) transient = Status::Io("the server does not say what became of it");
    if (const Status status = backoff.Wait(transient); !status.ok()) {
      for (const auto& [name, key] : waiting) (void)failures->Add(key->text(), status);
      return false;
    }
  }
  return true;
}

bool S3Store::MayDelete(const ObjectKey& key) {
  const Result<S3Answer> answer = client_.Call({.method = "DELETE", .key = FullKey(key)});
  return answer.ok() &&
         (!answer->error.has_value() || answer->error->http_status == HttpStatus::kNotFound);
}

bool S3Store::DeleteSingly(std::span<const ObjectKey> keys, internal::DeleteFailures* failures) {
  bool go_on = true;
  for (size_t at = 0; at < keys.size(); at += kDeletesAtOnce) {
    const auto some = keys.subspan(at, std::min(kDeletesAtOnce, keys.size() - at));
    std::vector<S3Call> calls;
    for (const ObjectKey& key : some) calls.push_back({.method = "DELETE", .key = FullKey(key)});
    // Once the store cannot be reached, the rest is only counted.
    const std::vector<Result<S3Answer>> answers =
        go_on ? client_.CallMany(calls)
              : std::vector<Result<S3Answer>>(some.size(), Status::Cancelled("not tried"));
    for (size_t n = 0; n < some.size(); ++n) {
      Status status = answers[n].status();
      if (status.ok() && answers[n]->error.has_value()) status = ToStatus(*answers[n]->error);
      go_on = failures->Add(some[n].text(), status) && go_on;
    }
  }
  return go_on;
}

Result<uint64_t> S3Store::AbortUploads(std::chrono::seconds age) {
  const std::string what = "look for unfinished uploads in " + Describe();
  uint64_t aborted = 0;
  S3UploadPage page;
  do {
    S3Call call{.method = "GET",
                .query = {{"uploads", ""},
                          {"encoding-type", "url"},
                          {"max-uploads", kPageUploads},
                          {"prefix", options().prefix}},
                .body_max = kListBytesMax};
    if (!page.next_key.empty()) {
      call.query.emplace_back("key-marker", page.next_key);
      call.query.emplace_back("upload-id-marker", page.next_upload);
    }
    SNAP_ASSIGN_OR_RETURN(const S3Answer answer, client_.Call(call));
    if (answer.error.has_value()) return Explain(*answer.error, what);
    // How old an upload is tells the server's clock only.
    const Result<int64_t> now = ParseHttpDate(answer.response.Header("date"));
    if (!now.ok()) return now.status().WithContext(what + ": the server's time");
    Result<S3UploadPage> next = ParseUploadPage(answer.response.body);
    if (!next.ok()) return next.status().WithContext(what);
    if (!next->next_key.empty() && next->next_key == page.next_key &&
        next->next_upload == page.next_upload) {
      return Status::Io(what + ": the server sends the same page again and again");
    }
    page = std::move(*next);
    for (const S3UploadPage::Upload& upload : page.uploads) {
      // The header has no fractions of a second, the list may have them.
      const auto old = std::chrono::nanoseconds(*now - upload.initiated_ns + kNanosPerSecond);
      if (old < age || !IsOurs(upload.key)) continue;
      SNAP_RETURN_IF_ERROR(AbortUpload(upload.key, upload.id).WithContext(what));
      ++aborted;
    }
  } while (!page.next_key.empty());
  return aborted;
}

bool S3Store::IsOurs(const std::string& full_key) const {
  return full_key.starts_with(options().prefix) &&
         ObjectKey::Parse(full_key.substr(options().prefix.size())).ok();
}

Status S3Store::AbortUpload(const std::string& full_key, const std::string& upload) {
  SNAP_ASSIGN_OR_RETURN(
      const S3Answer answer,
      client_.Call({.method = "DELETE", .key = full_key, .query = {{"uploadId", upload}}}));
  // 404: its writer, or another cleaner, was faster.
  if (!answer.error.has_value() || answer.error->http_status == HttpStatus::kNotFound) return {};
  return Explain(*answer.error, "abort the upload of " + full_key);
}

}  // namespace snapstore
