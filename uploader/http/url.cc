#include "uploader/http/url.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"

namespace snapstore {
namespace {

constexpr int kHttpPort = 80;
constexpr int kHttpsPort = 443;

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

Status NotAUrl(std::string_view text, std::string_view why) {
  return Status::InvalidArgument("'" + std::string(text) + "' is not a URL: " + std::string(why));
}

}  // namespace

std::string PercentEncode(std::string_view text, bool keep_slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (IsUnreserved(c) || (keep_slash && c == '/')) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<uint8_t>(c);
      out.push_back('%');
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    }
  }
  return out;
}

Result<std::string> PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out.push_back(text[at]);
      continue;
    }
    uint8_t byte = 0;
    if (text.size() - at < 3 || !HexDecode(text.substr(at + 1, 2), {&byte, 1}).ok()) {
      return Status::InvalidArgument("'" + std::string(text) + "': % without two digits");
    }
    out.push_back(static_cast<char>(byte));
    at += 2;
  }
  return out;
}

std::string EncodeQuery(const QueryParameters& parameters) {
  QueryParameters encoded;
  encoded.reserve(parameters.size());
  for (const auto& [name, value] : parameters) {
    encoded.emplace_back(PercentEncode(name), PercentEncode(value));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) {
    if (!out.empty()) out.push_back('&');
    out.append(name).append("=").append(value);
  }
  return out;
}

std::string Url::Authority() const {
  const int own = scheme == "https" ? kHttpsPort : kHttpPort;
  return port == 0 || port == own ? host : host + ":" + std::to_string(port);
}

Result<Url> ParseUrl(std::string_view text) {
  Url url;
  const size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return NotAUrl(text, "no scheme");
  url.scheme = text.substr(0, scheme_end);
  if (url.scheme != "http" && url.scheme != "https") {
    return NotAUrl(text, "only http and https are known");
  }
  std::string_view rest = text.substr(scheme_end + 3);
  if (rest.find_first_of("@?# \t\r\n") != std::string_view::npos) {
    return NotAUrl(text, "a user, query, fragment or space has no place in it");
  }
  const size_t path = std::min(rest.find('/'), rest.size());
  url.path = rest.substr(path);
  rest = rest.substr(0, path);
  // A colon within brackets belongs to an IPv6 address.
  const size_t bracket = rest.rfind(']');
  const size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    const std::string_view port = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port < 1 ||
        url.port > 65535) {
      return NotAUrl(text, "the port is not a number up to 65535");
    }
    rest = rest.substr(0, colon);
  }
  if (rest.empty()) return NotAUrl(text, "no host");
  url.host = rest;
  return url;
}

}  // namespace snapstore
