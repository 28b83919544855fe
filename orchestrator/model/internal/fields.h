// One description of an object's fields, from which it is read, checked and printed:
//
//   template <typename V, Is<Tag> T>
//   void Fields(V& v, T& o) {
//     v.Required("tagKey", o.key, TextOf(1, 128));
//     v.Field("tagValue", o.value, TextOf(0, 256));
//     v.Expect(o.key != o.value, "tagValue", "must differ from tagKey");
//   }
//
// Members may be bool, int64_t, double, std::string, Json, enums with EnumNames, structs with
// Fields, and std::optional, Setting and std::vector of those. A check is called with the value
// and answers with what is wrong, or nothing.
//
// Private to the folder. Thread safety: one object, one thread.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_FIELDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_FIELDS_H_

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/near_names.h"
#include "orchestrator/model/field_error.h"
#include "orchestrator/model/json.h"
#include "orchestrator/model/setting.h"

namespace snapstore::spot {

template <typename T, typename U>
concept Is = std::same_as<std::remove_const_t<T>, U>;

// kNames: the words for the enumerators, in their order.
template <typename E>
struct EnumNames;

template <typename E>
std::string_view NameOf(E value) {
  return EnumNames<E>::kNames[static_cast<size_t>(value)];
}
template <typename E>
std::optional<E> ValueOf(std::string_view name) {
  for (size_t i = 0; i < EnumNames<E>::kNames.size(); ++i) {
    if (EnumNames<E>::kNames[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

enum class ReadMode {
  kRequest,  // of a client: unknown fields and failed checks are errors
  kStored,   // written by this program, perhaps in another version: only types matter
};

inline constexpr size_t kStringBytesMax = 96 << 10;
inline constexpr size_t kListEntriesMax = 1000;

template <typename T>
struct IsSetting : std::false_type {};
template <typename T, T kDefault>
struct IsSetting<Setting<T, kDefault>> : std::true_type {};
template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

// Where a value is: "compute.subnetIds[1]". Text is made of it only when something is wrong there.
class FieldPath {
 public:
  // What it is made of must outlive it.
  FieldPath(const std::string& root) : name_(root) {}  // NOLINT: stands for it
  FieldPath(const char* root) : name_(root) {}         // NOLINT: as above
  FieldPath(const FieldPath* parent, std::string_view name) : parent_(parent), name_(name) {}
  FieldPath(const FieldPath* parent, size_t index) : parent_(parent), index_(index) {}

  std::string Text() const {
    if (parent_ == nullptr) return std::string(name_);
    const std::string before = parent_->Text();
    if (index_) return fmt::format("{}[{}]", before, *index_);
    return before.empty() ? std::string(name_) : fmt::format("{}.{}", before, name_);
  }

 private:
  const FieldPath* parent_ = nullptr;
  std::string_view name_;
  std::optional<size_t> index_;
};

class Reader {
 public:
  // `object`, `errors` and what the path is made of must outlive it. REQUIRES: object.is_object().
  Reader(const Json& object, const FieldPath& path, ReadMode mode, FieldErrors* errors)
      : object_(object), path_(path), mode_(mode), errors_(errors) {}

  template <typename T, typename... Checks>
  void Field(const char* name, T& member, const Checks&... checks) {
    known_.push_back(name);
    const auto it = object_.find(name);
    if (it == object_.end() || it->is_null()) return;
    const FieldPath path(&path_, name);
    if constexpr (IsOptional<T>::value) {
      typename T::value_type value{};
      if (Value(*it, path, &value, checks...)) member = std::move(value);
    } else if constexpr (IsSetting<T>::value) {
      auto value = T::kDefault;
      if (Value(*it, path, &value, checks...)) member = value;
    } else {
      Value(*it, path, &member, checks...);
    }
  }
  // Must be there and not null.
  template <typename T, typename... Checks>
  void Required(const char* name, T& member, const Checks&... checks) {
    Field(name, member, checks...);
    const auto it = object_.find(name);
    if (it == object_.end() || it->is_null()) errors_->Add(PathOf(name), "is required");
  }
  // Clients send it; nobody reads it.
  void Ignore(const char* name) { known_.push_back(name); }

  void Expect(bool holds, std::string_view field, std::string message) {
    if (!holds && mode_ == ReadMode::kRequest) errors_->Add(PathOf(field), std::move(message));
  }

  // Once all fields were named.
  void Finish() {
    if (mode_ == ReadMode::kStored) return;
    const std::vector<std::string> known(known_.begin(), known_.end());
    for (const auto& [name, value] : object_.items()) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      errors_->Add(PathOf(name.substr(0, 64)), "is not a known field" + DidYouMean(name, known));
    }
  }

  template <typename T, typename... Checks>
  bool Value(const Json& json, const FieldPath& path, T* out, const Checks&... checks) {
    if (!Convert(json, path, out)) return false;
    if (mode_ == ReadMode::kRequest) (Check(path, *out, checks), ...);
    return true;
  }

 private:
  std::string PathOf(std::string_view name) const { return FieldPath(&path_, name).Text(); }
  bool Wrong(const FieldPath& path, std::string message) {
    errors_->Add(path.Text(), std::move(message));
    return false;
  }

  template <typename T, typename C>
  void Check(const FieldPath& path, const T& value, const C& check) {
    if constexpr (requires { check.each; }) {
      for (size_t i = 0; i < value.size(); ++i) {
        Check(FieldPath(&path, i), value[i], check.each);
      }
    } else {
      if (std::string problem = check(value); !problem.empty()) {
        errors_->Add(path.Text(), std::move(problem));
      }
    }
  }

  template <typename T>
  bool Convert(const Json& json, const FieldPath& path, T* out) {
    if constexpr (std::same_as<T, bool>) {
      if (!json.is_boolean()) return Wrong(path, "must be true or false");
      *out = json.get<bool>();
    } else if constexpr (std::same_as<T, int64_t>) {
      const bool fits =
          json.is_number_integer() &&
          (!json.is_number_unsigned() ||
           json.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
      if (!fits) return Wrong(path, "must be an integer");
      *out = json.get<int64_t>();
    } else if constexpr (std::same_as<T, double>) {
      if (!json.is_number()) return Wrong(path, "must be a number");
      *out = json.get<double>();
    } else if constexpr (std::same_as<T, std::string>) {
      return ConvertText(json, path, out);
    } else if constexpr (std::same_as<T, Json>) {
      *out = json;
    } else if constexpr (std::is_enum_v<T>) {
      return ConvertEnum(json, path, out);
    } else if constexpr (IsVector<T>::value) {
      return ConvertList(json, path, out);
    } else {
      if (!json.is_object()) return Wrong(path, "must be an object");
      Reader reader(json, path, mode_, errors_);
      Fields(reader, *out);
      reader.Finish();
    }
    return true;
  }

  bool ConvertText(const Json& json, const FieldPath& path, std::string* out) {
    if (!json.is_string()) return Wrong(path, "must be a string");
    *out = json.get<std::string>();
    if (mode_ == ReadMode::kStored) return true;
    if (out->size() > kStringBytesMax) {
      return Wrong(path, fmt::format("must be at most {} bytes long", kStringBytesMax));
    }
    if (out->find('\0') != std::string::npos) return Wrong(path, "must not contain NUL");
    return true;
  }

  template <typename E>
  bool ConvertEnum(const Json& json, const FieldPath& path, E* out) {
    if (json.is_string()) {
      if (const auto value = ValueOf<E>(json.get_ref<const std::string&>())) {
        *out = *value;
        return true;
      }
    }
    return Wrong(path, fmt::format("must be one of {}", fmt::join(EnumNames<E>::kNames, ", ")));
  }

  template <typename T>
  bool ConvertList(const Json& json, const FieldPath& path, std::vector<T>* out) {
    if (!json.is_array()) return Wrong(path, "must be a list");
    if (mode_ == ReadMode::kRequest && json.size() > kListEntriesMax) {
      return Wrong(path, fmt::format("must have at most {} entries", kListEntriesMax));
    }
    out->resize(json.size());
    bool good = true;
    for (size_t i = 0; i < json.size(); ++i) {
      good = Convert(json[i], FieldPath(&path, i), &(*out)[i]) && good;
    }
    return good;
  }

  const Json& object_;
  const FieldPath path_;
  const ReadMode mode_;
  FieldErrors* const errors_;
  std::vector<const char*> known_;
};

// Prints what is set; nothing else.
class Writer {
 public:
  template <typename T, typename... Checks>
  void Field(const char* name, const T& member, const Checks&... /*checks*/) {
    if constexpr (IsSetting<T>::value) {
      Field(name, member.given);
    } else if constexpr (IsOptional<T>::value) {
      if (member) out_[name] = ValueJson(*member);
    } else {
      Json value = ValueJson(member);
      if ((value.is_object() || value.is_array()) && value.empty()) return;
      out_[name] = std::move(value);
    }
  }
  template <typename T, typename... Checks>
  void Required(const char* name, const T& member, const Checks&... /*checks*/) {
    if constexpr (IsSetting<T>::value || IsOptional<T>::value) {
      Field(name, member);
    } else {
      out_[name] = ValueJson(member);
    }
  }
  void Ignore(const char* /*name*/) {}
  void Expect(bool /*holds*/, std::string_view /*field*/, std::string_view /*message*/) {}

  Json Take() { return std::move(out_); }

  template <typename T>
  static Json ValueJson(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      return std::string(NameOf(value));
    } else if constexpr (IsVector<T>::value) {
      Json list = Json::array();
      for (const auto& item : value) list.push_back(ValueJson(item));
      return list;
    } else if constexpr (std::is_class_v<T> && !std::same_as<T, std::string> &&
                         !std::same_as<T, Json>) {
      Writer writer;
      Fields(writer, value);
      return writer.Take();
    } else {
      return value;
    }
  }

 private:
  Json out_ = Json::object();
};

// Reads `json` as a T; nothing when something was added to `errors`.
template <typename T>
std::optional<T> ReadObject(const Json& json, const std::string& path, ReadMode mode,
                            FieldErrors* errors) {
  if (!json.is_object()) {
    errors->Add(path, "must be an object");
    return std::nullopt;
  }
  T value{};
  FieldErrors found;
  Reader reader(json, path, mode, &found);
  Fields(reader, value);
  reader.Finish();
  for (const FieldError& error : found.all()) errors->Add(error.path, error.message);
  if (!found.empty()) return std::nullopt;
  return value;
}

// What the state store holds. Corruption when it is none of ours.
template <typename T>
Result<T> ReadStored(std::string_view text, std::string_view what) {
  const auto document = ParseTrustedJson(text);
  if (!document.ok()) {
    return Status::Corruption(fmt::format("{}: {}", what, document.status().message()));
  }
  FieldErrors errors;
  std::optional<T> value = ReadObject<T>(*document, "", ReadMode::kStored, &errors);
  if (!value) {
    return Status::Corruption(fmt::format("{}: {}", what, errors.ToStatus().message()));
  }
  return *std::move(value);
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_FIELDS_H_
