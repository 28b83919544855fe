// Setting: a field with a documented default, which is used but never shown to the client: what
// was not set is not echoed, so that a client that compares sees no difference.
//
// Thread safety: a value.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_SETTING_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_SETTING_H_

#include <cstdint>
#include <optional>

namespace snapstore::spot {

template <typename T, T kDefaultValue>
struct Setting {
  static constexpr T kDefault = kDefaultValue;

  std::optional<T> given;

  T value() const { return given.value_or(kDefault); }
  Setting& operator=(T value) {
    given = value;
    return *this;
  }
  bool operator==(const Setting&) const = default;
};

template <bool kDefault>
using Flag = Setting<bool, kDefault>;
template <int64_t kDefault>
using Number = Setting<int64_t, kDefault>;

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_SETTING_H_
