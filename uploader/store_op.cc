#include "uploader/store_op.h"

namespace snapstore {

std::string_view StoreOpName(StoreOp op) {
  switch (op) {
    case StoreOp::kPut:
      return "put";
    case StoreOp::kGetRange:
      return "get_range";
    case StoreOp::kGet:
      return "get";
    case StoreOp::kStat:
      return "stat";
    case StoreOp::kList:
      return "list";
    case StoreOp::kDelete:
      return "delete";
  }
  return "unknown";
}

}  // namespace snapstore
