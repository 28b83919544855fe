// ListenAddress: where a server of this project listens.
//
// Thread safety: a value.
#ifndef SNAPSTORE_BASE_LISTEN_ADDRESS_H_
#define SNAPSTORE_BASE_LISTEN_ADDRESS_H_

#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

struct ListenAddress {
  std::string host;
  int port = 0;

  // "127.0.0.1:9527", "[::1]:9527", "0.0.0.0:0" (any free port).
  static Result<ListenAddress> Parse(std::string_view text);
  bool IsLoopback() const;
  std::string ToString() const;
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_LISTEN_ADDRESS_H_
