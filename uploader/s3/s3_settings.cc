#include "uploader/s3/s3_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>

#include "base/near_names.h"
#include "base/status_macros.h"
#include "uploader/http/url.h"
#include "uploader/s3/checksum.h"

namespace snapstore {
namespace {

constexpr std::string_view kPrefix = "s3.";
constexpr uint64_t kConnectionsMax = 1024;
constexpr uint64_t kRetrySecondsMax = uint64_t{7} * 24 * 3600;
// Bytes a second: below it every transfer would count as stalled.
constexpr uint64_t kRateMin = 1024;
// The last part of an upload, and so the only one, may have any size.
constexpr uint64_t kMultipartMin = 4096;
constexpr uint64_t kMultipartMax = uint64_t{5} << 30;  // S3 takes no more in one PUT

Result<uint64_t> ParseNumber(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Status::InvalidArgument("'" + text + "' is not a number");
  }
  return value;
}

// With K, M, G for powers of 1024.
Result<uint64_t> ParseBytes(const std::string& text) {
  constexpr std::string_view kUnits = "KMG";
  const size_t unit = text.empty() ? std::string::npos : kUnits.find(text.back());
  const bool scaled = unit != std::string_view::npos;
  SNAP_ASSIGN_OR_RETURN(const uint64_t value,
                        ParseNumber(scaled ? text.substr(0, text.size() - 1) : text));
  const size_t shift = scaled ? 10 * (unit + 1) : 0;
  if (value > (~uint64_t{0} >> shift))
    return Status::InvalidArgument("'" + text + "' is too large");
  return value << shift;
}

Result<S3Addressing> ParseAddressing(const std::string& text) {
  if (text == "auto") return S3Addressing::kAuto;
  if (text == "path") return S3Addressing::kPath;
  if (text == "virtual") return S3Addressing::kVirtual;
  return Status::InvalidArgument("'" + text + "' is not auto, path or virtual");
}

Result<bool> ParseBool(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  return Status::InvalidArgument("'" + text + "' is not true or false");
}

Result<std::string> ParseRegion(const std::string& text) {
  if (!text.empty() &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos) {
    return text;
  }
  return Status::InvalidArgument("'" + text + "' is no region; write it as eu-west-1");
}

Result<std::string> ParseEndpoint(const std::string& text) {
  SNAP_RETURN_IF_ERROR(ParseUrl(text).status());
  return text;
}

// Names of other servers' classes are theirs to know.
Result<std::string> ParseStorageClass(const std::string& text) {
  constexpr std::array<std::string_view, 2> kFrozen = {"GLACIER", "DEEP_ARCHIVE"};
  if (std::find(kFrozen.begin(), kFrozen.end(), text) != kFrozen.end()) {
    return Status::InvalidArgument(text +
                                   " keeps objects that must be restored for hours before they "
                                   "can be read, and a repository reads its packs; GLACIER_IR "
                                   "and STANDARD_IA are read at once");
  }
  if (text == "EXPRESS_ONEZONE") {
    return Status::InvalidArgument(text + " is for directory buckets, which are not supported");
  }
  const bool well_formed =
      !text.empty() &&
      text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
  if (well_formed) return text;
  return Status::InvalidArgument("'" + text + "' is no storage class; write it as STANDARD_IA");
}

Result<std::string> ParseEncryption(const std::string& text) {
  if (text == "AES256" || text == "aws:kms" || text == "aws:kms:dsse") return text;
  return Status::InvalidArgument(
      "'" + text +
      "' is not AES256, aws:kms or aws:kms:dsse; keys of one's own (SSE-C) are not supported: "
      "'init --encrypt' encrypts before anything is sent");
}

Result<std::string> ParseKmsKey(const std::string& text) {
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!text.empty() && printable) return text;
  return Status::InvalidArgument("'" + text + "' is no KMS key: an id, alias or ARN");
}

// `parse` with a value from `least` to `most`.
template <typename Parse>
auto Within(uint64_t least, uint64_t most, Parse parse) {
  return [=](const std::string& text) -> Result<uint64_t> {
    SNAP_ASSIGN_OR_RETURN(const uint64_t value, parse(text));
    if (value >= least && value <= most) return value;
    return Status::InvalidArgument("'" + text + "' is not within " + std::to_string(least) +
                                   " and " + std::to_string(most));
  };
}

template <typename T, typename Parse>
auto Parsed(T S3Options::*member, Parse parse) {
  return [member, parse](const std::string& text, S3Options* options) -> Status {
    auto value = parse(text);
    if (!value.ok()) return value.status();
    options->*member = static_cast<T>(*std::move(value));
    return {};
  };
}

struct Setting {
  std::string_view name;
  std::function<Status(const std::string&, S3Options*)> apply;
};

const std::array<Setting, 14>& Settings() {
  const auto rate = Within(kRateMin, ~uint64_t{0} >> 1, ParseBytes);
  static const std::array<Setting, 14> settings = {{
      {"region", Parsed(&S3Options::region, ParseRegion)},
      {"endpoint", Parsed(&S3Options::endpoint, ParseEndpoint)},
      {"addressing", Parsed(&S3Options::addressing, ParseAddressing)},
      {"checksum",
       Parsed(&S3Options::checksum, [](const std::string& text) { return ParseS3Checksum(text); })},
      {"storage-class", Parsed(&S3Options::storage_class, ParseStorageClass)},
      {"encryption", Parsed(&S3Options::encryption, ParseEncryption)},
      {"kms-key-id", Parsed(&S3Options::kms_key_id, ParseKmsKey)},
      {"requester-pays", Parsed(&S3Options::requester_pays, ParseBool)},
      {"connections", Parsed(&S3Options::connections, Within(1, kConnectionsMax, ParseNumber))},
      {"retry-seconds",
       [](const std::string& text, S3Options* options) -> Status {
         SNAP_ASSIGN_OR_RETURN(const uint64_t seconds,
                               Within(1, kRetrySecondsMax, ParseNumber)(text));
         options->retry_deadline = std::chrono::seconds(seconds);
         return {};
       }},
      {"upload-limit", Parsed(&S3Options::upload_bytes_per_second, rate)},
      {"download-limit", Parsed(&S3Options::download_bytes_per_second, rate)},
      {"multipart-above",
       Parsed(&S3Options::multipart_bytes, Within(kMultipartMin, kMultipartMax, ParseBytes))},
      {"prices", Parsed(&S3Options::prices, ParseS3Prices)},
  }};
  return settings;
}

std::vector<std::string> KnownSettings() {
  std::vector<std::string> known;
  for (const Setting& setting : Settings()) {
    known.push_back(std::string(kPrefix) + std::string(setting.name));
  }
  return known;
}

Status Apply(const std::string& key, const std::string& value, S3Options* options) {
  for (const Setting& setting : Settings()) {
    if (key == std::string(kPrefix) + std::string(setting.name)) {
      return setting.apply(value, options).WithContext(key);
    }
  }
  std::string message = "there is no setting '" + key + "'";
  const std::string question = DidYouMean(key, KnownSettings());
  if (!question.empty()) return Status::InvalidArgument(message + question);
  std::string all;
  for (const std::string& name : KnownSettings()) all += (all.empty() ? "" : ", ") + name;
  return Status::InvalidArgument(message + "; there are " + all);
}

}  // namespace

Status ApplyS3Settings(const std::map<std::string, std::string>& settings, S3Options* options) {
  for (const auto& [key, value] : settings) {
    SNAP_RETURN_IF_ERROR(Apply(key, value, options));
  }
  if (!options->kms_key_id.empty() && !options->encryption.starts_with("aws:kms")) {
    return Status::InvalidArgument("s3.kms-key-id: goes with s3.encryption=aws:kms only");
  }
  return {};
}

Result<S3Options> MakeS3Options(const std::string& address,
                                const std::map<std::string, std::string>& settings,
                                const AwsEnvironment& environment) {
  S3Options options;
  const size_t slash = address.find('/');
  options.bucket = address.substr(0, slash);
  if (slash != std::string::npos) options.prefix = address.substr(slash + 1);
  while (options.prefix.ends_with('/')) options.prefix.pop_back();
  options.region = environment.Region();
  options.endpoint = environment.Endpoint("S3");
  options.ca_file = environment.CaBundle();
  SNAP_RETURN_IF_ERROR(ApplyS3Settings(settings, &options));
  return options;
}

}  // namespace snapstore
