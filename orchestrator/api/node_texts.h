// NodeTexts: what the API says of nodes, as JSON that is made once for each version of a record.
// Decoding a record and printing it again takes far longer than finding its text.
//
// Memory: at most kBytesMax of texts, and as much again while they are being sent; what was not
// asked for longest goes first.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_API_NODE_TEXTS_H_
#define SNAPSTORE_ORCHESTRATOR_API_NODE_TEXTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "orchestrator/model/records.h"
#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

class NodeTexts {
 public:
  static constexpr size_t kBytesMax = 64 << 20;

  using Text = std::shared_ptr<const std::string>;
  using Make = std::function<Result<Json>(const NodeRecord&)>;

  explicit NodeTexts(Make make, size_t bytes_max = kBytesMax)
      : make_(std::move(make)), bytes_max_(bytes_max) {}

  // Of a stored node. Errors: those of making it; Corruption: the record cannot be read.
  Result<Text> Of(const StateEntry& entry);

 private:
  struct Known {
    uint64_t revision = 0;
    Text text;
  };
  using Texts = std::unordered_map<std::string, Known>;  // by key of the record

  // REQUIRES: mutex_ is held.
  void Keep(const std::string& key, Known known);

  const Make make_;
  const size_t bytes_max_;
  std::mutex mutex_;  // guards what follows
  // The new ones become the old ones when they fill half of the memory; what is asked for becomes
  // new again.
  Texts new_;
  Texts old_;
  size_t new_bytes_ = 0;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_API_NODE_TEXTS_H_
