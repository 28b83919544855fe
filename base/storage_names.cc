#include "base/storage_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace snapstore {
namespace {

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

Status Refused(std::string_view name, std::string_view why) {
  return Status::InvalidArgument(fmt::format("'{}': {}", name, why));
}

Status CheckBucketName(std::string_view name) {
  if (name.size() < 3 || name.size() > 63) {
    return Status::InvalidArgument(
        fmt::format("'{}' is neither an S3 bucket name (3 to 63 characters) nor an EFS id (fs- and "
                    "8 or 17 hex digits)",
                    name));
  }
  const bool characters_ok = std::all_of(
      name.begin(), name.end(), [](char c) { return IsLowerOrDigit(c) || c == '-' || c == '.'; });
  if (!characters_ok) {
    return Refused(name, "a bucket name has lower-case letters, digits, '.' and '-' only");
  }
  if (!IsLowerOrDigit(name.front()) || !IsLowerOrDigit(name.back())) {
    return Refused(name, "a bucket name begins and ends with a letter or a digit");
  }
  if (name.find("..") != std::string_view::npos) {
    return Refused(name, "a bucket name has no two dots in a row");
  }
  if (name.find_first_not_of("0123456789.") == std::string_view::npos &&
      std::count(name.begin(), name.end(), '.') == 3) {
    return Refused(name, "a bucket name is not an IP address");
  }
  for (const std::string_view prefix : {"xn--", "sthree-", "amzn-s3-demo-"}) {
    if (name.starts_with(prefix)) {
      return Refused(name, fmt::format("the prefix {} is reserved", prefix));
    }
  }
  for (const std::string_view suffix : {"-s3alias", "--ol-s3", ".mrap", "--x-s3"}) {
    if (name.ends_with(suffix)) {
      return Refused(name, fmt::format("the suffix {} is reserved", suffix));
    }
  }
  return Status::Ok();
}

}  // namespace

bool IsEfsId(std::string_view text) {
  if (!text.starts_with("fs-")) return false;
  text.remove_prefix(3);
  return (text.size() == 8 || text.size() == 17) &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Status CheckSnapshotDestination(std::string_view name) {
  return IsEfsId(name) ? Status::Ok() : CheckBucketName(name);
}

Status CheckPlainFilePath(std::string_view path) {
  if (path.find('\0') != std::string_view::npos) {
    return Status::InvalidArgument("must not contain NUL");
  }
  if (path.empty() || path.front() != '/') {
    return Status::InvalidArgument(fmt::format("'{}' is not an absolute path", path));
  }
  const std::string framed = std::string(path) + "/";
  if (path.back() == '/' || framed.find("/../") != std::string::npos ||
      framed.find("/./") != std::string::npos || framed.find("//") != std::string::npos) {
    return Status::InvalidArgument(
        fmt::format("'{}' must be a plain path to a file, without '.', '..', double or trailing "
                    "slashes",
                    path));
  }
  return Status::Ok();
}

}  // namespace snapstore
