// The suite that every ObjectStore passes.
//
// A store joins by linking snapstore_store_conformance and instantiating:
//
//   INSTANTIATE_TEST_SUITE_P(Directory, StoreConformance,
//                            testing::Values(StoreUnderTest{"Directory", MakePlace}));
#ifndef SNAPSTORE_TESTS_CONFORMANCE_STORE_CONFORMANCE_H_
#define SNAPSTORE_TESTS_CONFORMANCE_STORE_CONFORMANCE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "uploader/object_store.h"

namespace snapstore {

// An empty place for objects that is gone, with all it holds, when this object is destroyed.
class StorePlace {
 public:
  virtual ~StorePlace() = default;

  // A handle on the place; every handle sees the same objects.
  virtual Result<std::shared_ptr<ObjectStore>> Open() = 0;

  // Whether a forked process may Open() it as well.
  virtual bool SharedBetweenProcesses() const = 0;

  // Whether one alone of those who put a key at the same moment is told that it made the object.
  virtual bool PutsAreAtomic() const { return true; }

  // Objects that fill several pages of a list, or are many for other reasons.
  virtual size_t ManyObjects() const { return 1000; }
};

struct StoreUnderTest {
  std::string name;
  std::function<std::unique_ptr<StorePlace>()> make;
};

inline void PrintTo(const StoreUnderTest& store, std::ostream* out) { *out << store.name; }

class StoreConformance : public testing::TestWithParam<StoreUnderTest> {
 protected:
  void SetUp() override;

  // Puts one piece; a test failure when that fails.
  PutOutcome Put(const std::string& key, ByteSpan bytes);
  // The keys that List shows, sorted; a test failure for keys shown twice and for wrong sizes.
  std::vector<std::string> Keys(std::string_view prefix);

  std::unique_ptr<StorePlace> place_;
  std::shared_ptr<ObjectStore> store_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_CONFORMANCE_STORE_CONFORMANCE_H_
