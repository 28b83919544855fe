// LruCache: values by key, the least recently used dropped when they take up too many bytes.
//
// Thread safety: none; its owner locks.
#ifndef SNAPSTORE_ENGINE_LRU_CACHE_H_
#define SNAPSTORE_ENGINE_LRU_CACHE_H_

#include <cstddef>
#include <list>
#include <map>
#include <utility>

namespace snapstore {

// `Value` is cheap to copy (a shared pointer), and its default stands for "not here".
template <typename Key, typename Value>
class LruCache {
 public:
  // The newest value is kept even if it is larger than `bytes_max` alone.
  explicit LruCache(size_t bytes_max) : bytes_max_(bytes_max) {}

  Value Find(const Key& key) {
    const auto it = places_.find(key);
    if (it == places_.end()) return Value();
    recent_.splice(recent_.begin(), recent_, it->second);
    return it->second->value;
  }
  bool Contains(const Key& key) const { return places_.contains(key); }

  // No effect if the key is there already.
  void Insert(const Key& key, Value value, size_t bytes) {
    if (places_.contains(key)) return;
    recent_.push_front({key, std::move(value), bytes});
    places_[key] = recent_.begin();
    bytes_ += bytes;
    while (bytes_ > bytes_max_ && recent_.size() > 1) {
      bytes_ -= recent_.back().bytes;
      places_.erase(recent_.back().key);
      recent_.pop_back();
    }
  }

  size_t bytes() const { return bytes_; }

 private:
  struct Kept {
    Key key;
    Value value;
    size_t bytes = 0;
  };

  const size_t bytes_max_;
  size_t bytes_ = 0;
  std::list<Kept> recent_;  // most recent first
  std::map<Key, typename std::list<Kept>::iterator> places_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_LRU_CACHE_H_
