// Secret: bytes that must not linger: passwords, keys.
//
// They lie in pages of their own that are left out of core dumps, kept from being swapped where the
// process may ask for that, and wiped when the Secret goes or is assigned to. There is no way to
// print one.
//
// Thread safety: a value; copies are independent.
#ifndef SNAPSTORE_SECRET_H_
#define SNAPSTORE_SECRET_H_

#include <cstddef>
#include <string_view>
#include <utility>

namespace snapstore {

class Secret {
 public:
  Secret() = default;  // empty
  explicit Secret(std::string_view bytes);
  // `size` zeros, to be filled through data().
  static Secret OfSize(size_t size);
  ~Secret() { Wipe(); }

  Secret(const Secret& other) : Secret(other.view()) {}
  Secret& operator=(const Secret& other) {
    if (this != &other) *this = Secret(other.view());
    return *this;
  }
  Secret(Secret&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Secret& operator=(Secret&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    other.Wipe();
    return *this;
  }

  char* data() { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_, size_}; }

  // Makes it empty.
  void Wipe();

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_SECRET_H_
