// The part of S3Store that explains itself: what a bucket and the way to it are like.
// Source: HeadBucket, GetBucketVersioning and GetBucketLifecycleConfiguration, Amazon S3 API
// Reference.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <pugixml.hpp>

#include "base/clock.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

using Grade = Diagnosis::Grade;

constexpr double kClockSecondsOff = 5;
constexpr size_t kConfigurationBytesMax = 1 << 20;
constexpr size_t kKeyDigitsShown = 4;

Diagnosis DiagnoseCredentials(AwsCredentialChain& chain) {
  Diagnosis out{.subject = "credentials"};
  const Result<AwsCredentials> credentials = chain.Get();
  if (!credentials.ok()) {
    out.grade = Grade::kFailure;
    out.text = credentials.status().message();
    return out;
  }
  const std::string& id = credentials->access_key_id;
  const std::string shown = "…" + id.substr(id.size() - std::min(id.size(), kKeyDigitsShown));
  const int64_t left_ns = credentials->expires_ns - WallNanos();
  std::string expires = "long-lived";
  if (credentials->expires_ns != 0) {
    expires = fmt::format("expires {}, in {:.0f} min", FormatTime(credentials->expires_ns, 0),
                          static_cast<double>(left_ns) / 60e9);
  }
  out.text = fmt::format("from {}: key {}, {}", chain.source(), shown, expires);
  out.facts = {{"source", chain.source()}, {"session", !credentials->session_token.empty()}};
  if (credentials->expires_ns != 0) {
    out.facts.emplace_back("expires", FormatTime(credentials->expires_ns, 0));
    if (left_ns <= 0) out.grade = Grade::kWarning;
  }
  return out;
}

Diagnosis DiagnoseClock(const HttpResponse& response) {
  Diagnosis out{.subject = "clock"};
  const Result<int64_t> server = ParseHttpDate(response.Header("date"));
  if (!server.ok()) {
    out.grade = Grade::kWarning;
    out.text = "the server does not say what time it is";
    return out;
  }
  // The header has no fractions.
  const double ahead = static_cast<double>(WallNanos() - *server) / 1e9 - 0.5;
  out.facts = {{"ahead_seconds", ahead}};
  if (std::abs(ahead) <= kClockSecondsOff) {
    out.text = "agrees with the server's within a second or so";
    if (std::abs(ahead) > 1) out.text = fmt::format("{:+.0f} s to the server's", ahead);
    return out;
  }
  out.grade = Grade::kWarning;
  out.text = fmt::format(
      "this machine's is {:.0f} s {} the server's; requests are signed with the "
      "server's time, but set it right",
      std::abs(ahead), ahead > 0 ? "ahead of" : "behind");
  return out;
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") ||
         host == "[::1]";
}

// What a rule of a lifecycle does to objects below `prefix`; empty: nothing.
std::string RuleHarm(const pugi::xml_node& rule, const std::string& prefix) {
  if (std::string_view(rule.child_value("Status")) != "Enabled") return "";
  const pugi::xml_node filter = rule.child("Filter");
  // Objects of a repository have no tags.
  if (filter.child("Tag") || filter.child("And").child("Tag")) return "";
  std::string rule_prefix = rule.child_value("Prefix");
  if (rule_prefix.empty()) rule_prefix = filter.child_value("Prefix");
  if (rule_prefix.empty()) rule_prefix = filter.child("And").child_value("Prefix");
  if (!prefix.starts_with(rule_prefix) && !rule_prefix.starts_with(prefix)) return "";
  const pugi::xml_node expiration = rule.child("Expiration");
  if (expiration.child("Days") || expiration.child("Date")) {
    return "deletes objects of the repository";
  }
  for (const pugi::xml_node transition : rule.children("Transition")) {
    const std::string_view target = transition.child_value("StorageClass");
    if (target == "GLACIER" || target == "DEEP_ARCHIVE") {
      return "moves objects to " + std::string(target) + ", where they cannot be read at once";
    }
  }
  return "";
}

void ReadLifecycle(const pugi::xml_node& root, const std::string& prefix, Diagnosis* out) {
  bool aborts = false;
  for (const pugi::xml_node rule : root.children("Rule")) {
    if (rule.child("AbortIncompleteMultipartUpload")) aborts = true;
    const std::string harm = RuleHarm(rule, prefix);
    if (harm.empty()) continue;
    out->grade = Grade::kFailure;
    out->text +=
        fmt::format("{}rule '{}' {}", out->text.empty() ? "" : "; ", rule.child_value("ID"), harm);
  }
  out->facts.emplace_back("aborts_uploads", aborts);
  if (!out->text.empty()) return;
  out->text = aborts ? "unfinished uploads are aborted"
                     : "no rule aborts unfinished uploads (AbortIncompleteMultipartUpload); "
                       "'snapstore prune' does";
}

}  // namespace

bool S3Store::Diagnose(bool write_probe, const DiagnosisSink& sink) {
  Diagnosis credentials = DiagnoseCredentials(client_.credentials());
  const bool have = credentials.grade != Grade::kFailure;
  sink(std::move(credentials));
  if (!have) return false;
  const Result<S3Answer> answer = client_.Call({.method = "HEAD"});
  Diagnosis bucket = DiagnoseBucket(answer);
  // A role may lack the right to ask about the bucket, and still do its work.
  const bool reached = answer.ok() && (!answer->error.has_value() ||
                                       answer->error->http_status == HttpStatus::kForbidden);
  sink(std::move(bucket));
  if (!reached) return false;
  sink(DiagnoseClock(answer->response));
  sink(DiagnoseVersioning());
  sink(DiagnoseLifecycle());
  if (write_probe) sink(DiagnoseConditions());
  return true;
}

Diagnosis S3Store::DiagnoseBucket(const Result<S3Answer>& answer) const {
  const std::string address = client_.Address();
  Diagnosis out{.subject = "bucket",
                .text = fmt::format("{}, region {}", address, client_.Region()),
                .facts = {{"address", address}, {"region", client_.Region()}}};
  if (!answer.ok()) {
    out.grade = Grade::kFailure;
    out.text += ": " + answer.status().message();
    return out;
  }
  if (answer->error.has_value()) {
    const int status = answer->error->http_status;
    out.grade = status == HttpStatus::kForbidden ? Grade::kWarning : Grade::kFailure;
    out.text += status == HttpStatus::kNotFound    ? ": there is no such bucket"
                : status == HttpStatus::kForbidden ? ": these credentials may not ask about it"
                                                   : ": " + answer->error->code;
    return out;
  }
  const Result<Url> url = ParseUrl(address);
  if (url.ok() && url->scheme == "http" && !IsLoopback(url->host)) {
    out.grade = Grade::kWarning;
    out.text += "; http is not encrypted: use https";
  }
  return out;
}

Diagnosis S3Store::DiagnoseVersioning() {
  Diagnosis out{.subject = "versioning"};
  const Result<S3Answer> answer = client_.Call(
      {.method = "GET", .query = {{"versioning", ""}}, .body_max = kConfigurationBytesMax});
  if (!answer.ok() || answer->error.has_value()) {
    out.text = "not known: " + (answer.ok() ? answer->error->code : answer.status().message());
    return out;
  }
  pugi::xml_document document;
  document.load_buffer(answer->response.body.data(), answer->response.body.size());
  const std::string status = document.first_child().child_value("Status");
  out.facts = {{"status", status.empty() ? std::string("Off") : status}};
  if (status != "Enabled") {
    out.text = status.empty() ? "off" : status;
    return out;
  }
  out.grade = Grade::kWarning;
  out.text =
      "on: what prune deletes stays, and is billed, as an old version until a lifecycle "
      "rule (NoncurrentVersionExpiration) ends it";
  return out;
}

Diagnosis S3Store::DiagnoseLifecycle() {
  Diagnosis out{.subject = "lifecycle"};
  const Result<S3Answer> answer = client_.Call(
      {.method = "GET", .query = {{"lifecycle", ""}}, .body_max = kConfigurationBytesMax});
  pugi::xml_document document;
  if (answer.ok() && answer->error.has_value() &&
      answer->error->code == "NoSuchLifecycleConfiguration") {
    ReadLifecycle(document, options().prefix, &out);
    return out;
  }
  if (!answer.ok() || answer->error.has_value()) {
    out.text = "not known: " + (answer.ok() ? answer->error->code : answer.status().message());
    return out;
  }
  document.load_buffer(answer->response.body.data(), answer->response.body.size());
  ReadLifecycle(document.first_child(), options().prefix, &out);
  return out;
}

Diagnosis S3Store::DiagnoseConditions() {
  Diagnosis out{.subject = "conditional put"};
  std::array<uint8_t, 16> random;
  SecureRandom(random);
  const std::string key = options().prefix + "doctor/" + HexEncode(random);
  const auto put = [&](std::string_view text) {
    const ByteSpan body = AsBytes(text);
    return client_.Call(
        {.method = "PUT", .key = key, .headers = {{"If-None-Match", "*"}}, .body = {&body, 1}});
  };
  const auto says = [](const Result<S3Answer>& answer) {
    if (!answer.ok()) return answer.status().message();
    return answer->error.has_value() ? ToStatus(*answer->error).message() : std::string("done");
  };
  const auto refused = [](const Result<S3Answer>& answer, int status) {
    return answer.ok() && answer->error.has_value() && answer->error->http_status == status;
  };
  const Result<S3Answer> first = put("one");
  if (refused(first, HttpStatus::kNotImplemented)) {
    out.grade = Grade::kWarning;
    out.text = "not known to the server: it is asked with HEAD before each PUT";
    out.facts = {{"honoured", false}};
    return out;
  }
  if (!first.ok() || first->error.has_value()) {
    out.grade = Grade::kFailure;
    out.text = "could not put " + key + ": " + says(first);
    return out;
  }
  const Result<S3Answer> second = put("two");
  const bool honoured = refused(second, HttpStatus::kPreconditionFailed);
  out.facts = {{"honoured", honoured}};
  out.text = honoured ? "honoured" : "ignored: of two writers of one key the later wins";
  if (!honoured) out.grade = Grade::kWarning;
  const Result<S3Answer> deleted = client_.Call({.method = "DELETE", .key = key});
  const bool may_delete = deleted.ok() && !deleted->error.has_value();
  out.facts.emplace_back("may_delete", may_delete);
  if (!may_delete) out.text += "; " + key + " is left behind: " + says(deleted);
  return out;
}

}  // namespace snapstore
