#include "uploader/s3/s3_settings.h"

#include <array>
#include <charconv>
#include <functional>

#include "base/status_macros.h"
#include "uploader/s3/checksum.h"

namespace snapstore {
namespace {

constexpr std::string_view kPrefix = "s3.";

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

template <typename T, typename Parse>
auto Parsed(T S3Options::*member, Parse parse) {
  return [member, parse](const std::string& text, S3Options* options) -> Status {
    auto value = parse(text);
    if (!value.ok()) return value.status();
    options->*member = static_cast<T>(*std::move(value));
    return {};
  };
}

auto Text(std::string S3Options::*member) {
  return [member](const std::string& text, S3Options* options) {
    options->*member = text;
    return Status();
  };
}

struct Setting {
  std::string_view name;
  std::function<Status(const std::string&, S3Options*)> apply;
};

const std::array<Setting, 14>& Settings() {
  static const std::array<Setting, 14> settings = {{
      {"region", Text(&S3Options::region)},
      {"endpoint", Text(&S3Options::endpoint)},
      {"addressing", Parsed(&S3Options::addressing, ParseAddressing)},
      {"checksum",
       Parsed(&S3Options::checksum, [](const std::string& text) { return ParseS3Checksum(text); })},
      {"storage-class", Text(&S3Options::storage_class)},
      {"encryption", Text(&S3Options::encryption)},
      {"kms-key-id", Text(&S3Options::kms_key_id)},
      {"requester-pays", Parsed(&S3Options::requester_pays, ParseBool)},
      {"connections", Parsed(&S3Options::connections, ParseNumber)},
      {"retry-seconds",
       [](const std::string& text, S3Options* options) -> Status {
         SNAP_ASSIGN_OR_RETURN(const uint64_t seconds, ParseNumber(text));
         options->retry_deadline = std::chrono::seconds(std::min<uint64_t>(seconds, 1 << 30));
         return {};
       }},
      {"upload-limit", Parsed(&S3Options::upload_bytes_per_second, ParseBytes)},
      {"download-limit", Parsed(&S3Options::download_bytes_per_second, ParseBytes)},
      {"multipart-above", Parsed(&S3Options::multipart_bytes, ParseBytes)},
      {"prices", Parsed(&S3Options::prices, ParseS3Prices)},
  }};
  return settings;
}

Status Apply(const std::string& key, const std::string& value, S3Options* options) {
  std::string known;
  for (const Setting& setting : Settings()) {
    if (key.substr(kPrefix.size()) == setting.name) {
      return setting.apply(value, options).WithContext(key);
    }
    known += (known.empty() ? "" : ", ") + std::string(setting.name);
  }
  return Status::InvalidArgument("there is no setting " + key + "; after s3. one of " + known);
}

}  // namespace

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
  for (const auto& [key, value] : settings) {
    if (key.starts_with(kPrefix)) SNAP_RETURN_IF_ERROR(Apply(key, value, &options));
  }
  return options;
}

}  // namespace snapstore
