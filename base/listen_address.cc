#include "base/listen_address.h"

#include <fmt/format.h>

#include <charconv>

namespace snapstore {

Result<ListenAddress> ListenAddress::Parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  ListenAddress address;
  if (colon != std::string_view::npos) {
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    address.host = std::string(text.substr(0, colon));
    if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') {
      address.host = address.host.substr(1, address.host.size() - 2);
    }
    if (error == std::errc() && end == port.data() + port.size() && !port.empty() &&
        address.port >= 0 && address.port <= 65535 && !address.host.empty()) {
      return address;
    }
  }
  return Status::InvalidArgument(
      fmt::format("address '{}': must be HOST:PORT, such as 127.0.0.1:9527", text));
}

bool ListenAddress::IsLoopback() const {
  return host.starts_with("127.") || host == "::1" || host == "localhost";
}

std::string ListenAddress::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

}  // namespace snapstore
