// nftables in a network namespace: one command, or several lines of them, in one transaction.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_AGENT_NFT_H_
#define SNAPSTORE_AGENT_NFT_H_

#include <sys/types.h>

#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

// In the network namespace of thread `tid`; 0: of the calling one. What nft prints.
Result<std::string> RunNft(pid_t tid, const std::string& command);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NFT_H_
