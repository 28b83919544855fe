// StoreOp: the operations of an ObjectStore, for the wrappers that count them or make them fail.
#ifndef SNAPSTORE_UPLOADER_STORE_OP_H_
#define SNAPSTORE_UPLOADER_STORE_OP_H_

#include <cstddef>
#include <string_view>

namespace snapstore {

enum class StoreOp { kPut, kGetRange, kGet, kStat, kList, kDelete };
inline constexpr size_t kStoreOps = 6;

// "put", "get_range", …; static storage.
std::string_view StoreOpName(StoreOp op);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_STORE_OP_H_
