// The conformance suite on the stores that need nothing but this machine, and on the wrappers,
// which must not change what a store does.
#include "tests/base/temp_folder.h"
#include "tests/conformance/store_conformance.h"
#include "uploader/counting_store.h"
#include "uploader/directory_store.h"
#include "uploader/fault_store.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

class DirectoryPlace final : public StorePlace {
 public:
  Result<std::shared_ptr<ObjectStore>> Open() override {
    Result<std::unique_ptr<ObjectStore>> store =
        OpenDirectoryStore(folder_.File("a/store"), {.create = true});
    if (!store.ok()) return store.status();
    return std::shared_ptr<ObjectStore>(std::move(store).value());
  }
  bool SharedBetweenProcesses() const override { return true; }

 private:
  TempFolder folder_;
};

class MemoryPlace final : public StorePlace {
 public:
  Result<std::shared_ptr<ObjectStore>> Open() override { return store_; }
  bool SharedBetweenProcesses() const override { return false; }

 private:
  const std::shared_ptr<ObjectStore> store_ = NewMemoryStore();
};

class WrappedPlace final : public StorePlace {
 public:
  Result<std::shared_ptr<ObjectStore>> Open() override {
    auto faults = std::make_shared<FaultStore>(store_, 1);
    faults->Add({.kind = FaultKind::kFail, .probability = 0});
    return std::shared_ptr<ObjectStore>(std::make_shared<CountingStore>(std::move(faults)));
  }
  bool SharedBetweenProcesses() const override { return false; }

 private:
  const std::shared_ptr<ObjectStore> store_ = NewMemoryStore();
};

template <typename Place>
std::unique_ptr<StorePlace> Make() {
  return std::make_unique<Place>();
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreConformance,
                         testing::Values(StoreUnderTest{"Directory", Make<DirectoryPlace>},
                                         StoreUnderTest{"Memory", Make<MemoryPlace>},
                                         StoreUnderTest{"Wrapped", Make<WrappedPlace>}),
                         [](const auto& suite) { return suite.param.name; });

}  // namespace
}  // namespace snapstore
