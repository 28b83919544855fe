#include "snapstore/secret.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/check.h"

namespace snapstore {
namespace {

size_t WholePages(size_t size) {
  static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (size + page - 1) / page * page;
}

}  // namespace

Secret::Secret(std::string_view bytes) : Secret(OfSize(bytes.size())) {
  if (!bytes.empty()) std::memcpy(data_, bytes.data(), bytes.size());
}

Secret Secret::OfSize(size_t size) {
  Secret secret;
  if (size == 0) return secret;
  const size_t pages = WholePages(size);
  void* const memory =
      ::mmap(nullptr, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SNAP_CHECK(memory != MAP_FAILED);
  // Best effort: a limit on locked memory must not keep anybody from their data.
  (void)::madvise(memory, pages, MADV_DONTDUMP);
  (void)::mlock(memory, pages);
  secret.data_ = static_cast<char*>(memory);
  secret.size_ = size;
  return secret;
}

void Secret::Wipe() {
  if (data_ == nullptr) return;
  OPENSSL_cleanse(data_, size_);
  (void)::munmap(data_, WholePages(size_));
  data_ = nullptr;
  size_ = 0;
}

}  // namespace snapstore
