// Spares: objects that are costly to make, lent to one user at a time and used again.
//
// Thread safety: all calls may run concurrently; a loan belongs to one thread at a time.
#ifndef SNAPSTORE_ENGINE_SPARES_H_
#define SNAPSTORE_ENGINE_SPARES_H_

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace snapstore {

template <typename T>
class Spares {
 public:
  // Gives itself back. Must not outlive the spares.
  class Loan {
   public:
    Loan(Spares* spares, std::unique_ptr<T> object) : spares_(spares), object_(std::move(object)) {}
    ~Loan() { spares_->Give(std::move(object_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;

    T& operator*() const { return *object_; }
    T* operator->() const { return object_.get(); }

   private:
    Spares* const spares_;
    std::unique_ptr<T> object_;
  };

  // In the state in which its last user left it, or made from `arguments`.
  template <typename... Arguments>
  Loan Borrow(const Arguments&... arguments) {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return Loan(this, std::make_unique<T>(arguments...));
    std::unique_ptr<T> object = std::move(idle_.back());
    idle_.pop_back();
    return Loan(this, std::move(object));
  }

 private:
  void Give(std::unique_ptr<T> object) {
    std::lock_guard lock(mutex_);
    idle_.push_back(std::move(object));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;  // guarded by mutex_
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SPARES_H_
