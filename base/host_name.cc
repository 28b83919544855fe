#include "base/host_name.h"

#include <unistd.h>

#include <array>

namespace snapstore {

std::string HostName() {
  constexpr size_t kHostNameMax = 256;
  std::array<char, kHostNameMax> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

}  // namespace snapstore
