// Percent-encoding of URLs (RFC 3986, section 2.1) and their parts.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_UPLOADER_HTTP_URL_H_
#define SNAPSTORE_UPLOADER_HTTP_URL_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "snapstore/status.h"

namespace snapstore {

using QueryParameters = std::vector<std::pair<std::string, std::string>>;

// Every byte but the unreserved ones (A-Z a-z 0-9 - . _ ~) as %XX, upper case; with `keep_slash`,
// '/' stays too. This is AWS's UriEncode.
std::string PercentEncode(std::string_view text, bool keep_slash = false);
// The reverse. InvalidArgument for a '%' without two hexadecimal digits.
Result<std::string> PercentDecode(std::string_view text);

// "a=1&b=%20", ordered by encoded name, then encoded value, as SigV4 wants it; "" without any.
std::string EncodeQuery(const QueryParameters& parameters);

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // a name, an address, or "[::1]"
  int port = 0;        // 0: the scheme's own
  std::string path;    // "" or "/…", as written

  // "host" or "host:port"; the latter only where the port is not the scheme's own.
  std::string Authority() const;
  std::string Origin() const { return scheme + "://" + Authority(); }
};

// InvalidArgument unless `text` is http or https with a host, and without user, query and fragment.
Result<Url> ParseUrl(std::string_view text);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_HTTP_URL_H_
