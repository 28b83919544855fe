// EbsDirect: the blocks of EBS snapshots, and which of them differ between two.
// Source: "EBS direct APIs", Amazon EBS API Reference (2019-11-02).
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_EBS_DIRECT_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_EBS_DIRECT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "orchestrator/ec2/aws_caller.h"

namespace snapstore {

struct EbsBlock {
  uint64_t index = 0;  // times block_bytes: where it lies in the volume
  std::string token = {};
  // Of changed blocks: of the same block in the other snapshot; empty where that one has none.
  std::string other_token = {};
};

struct EbsBlockList {
  uint64_t block_bytes = 0;
  uint64_t volume_gib = 0;
  int64_t expiry_ns = 0;  // of the tokens
  std::vector<EbsBlock> blocks = {};
  std::string next_token = {};  // of a page: empty: it is the last one
};

struct EbsPageRequest {
  std::string snapshot_id = {};
  std::string first = {};  // ListChangedBlocks: the earlier snapshot; empty: ListSnapshotBlocks
  uint64_t start = 0;      // from this index on
  std::string token = {};  // of the page before; then `start` has no effect
  int size = 0;            // 0: the service's own
};

class EbsDirect {
 public:
  EbsDirect(AwsServiceOptions options, std::shared_ptr<AwsCredentialChain> credentials);
  static Result<std::unique_ptr<EbsDirect>> FromEnvironment(
      const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials);

  // Blocks with data. All pages; `page_size` 0: the service's own.
  Ec2Result<EbsBlockList> ListSnapshotBlocks(const std::string& snapshot_id, int page_size = 0);
  // Blocks of `second` that differ from `first`, which is an older snapshot of the same volume:
  // `token` is of the second, empty where it has none any more; `other_token` of the first.
  Ec2Result<EbsBlockList> ListChangedBlocks(const std::string& first, const std::string& second,
                                            int page_size = 0);
  // One page of either list. It may hold no block though others follow.
  Ec2Result<EbsBlockList> ListPage(const EbsPageRequest& request);
  // Verified by the checksum that comes along. Asked for once more when it does not fit, then Io.
  Ec2Result<Bytes> GetSnapshotBlock(const std::string& snapshot_id, uint64_t index,
                                    const std::string& token);

 private:
  Ec2Result<EbsBlockList> ListAll(EbsPageRequest request);

  AwsCaller caller_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_EBS_DIRECT_H_
