// Claims: which of several programs that go by one name, on whatever machines, is the last one.
//
// A claim is an object of the repository with a number, its epoch. Whoever makes one gets a higher
// epoch than all before; who held the name until then finds the higher one and knows that it is
// superseded. Nothing is locked and no claim ends by itself. The holder may record, once, which
// snapshots it goes by: what holders of lower epochs commit after that is none of them, however
// late it arrives and whatever their clocks say. docs/design.md, "One agent for an application".
//
// Thread safety: free functions; all calls may run concurrently.
#ifndef SNAPSTORE_CLAIM_H_
#define SNAPSTORE_CLAIM_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

// All texts may be any bytes.
struct Claim {
  std::string name;     // what is claimed
  uint64_t epoch = 0;   // from 1
  std::string id = {};  // 32 hex digits, random
  // What its maker says of itself, for people. Empty and 0 if the object cannot be read.
  int64_t time_ns = 0;  // wall clock of its machine
  std::string host = {};
  std::string instance = {};  // of a cloud
  uint64_t process = 0;
};

struct ClaimRequest {
  std::string name;
  uint64_t above = 0;  // the epoch must be higher than this, too
  std::string instance = {};
};

// Makes a claim whose epoch is higher than that of all others that were there. Conflict: others
// make claims on this name without end, or there is no higher number.
Result<Claim> TakeClaim(Repository& repository, const ClaimRequest& request);

// The highest claim on `name` if its epoch is higher than `epoch`. An error: it could not be told.
Result<std::optional<Claim>> FindHigherClaim(Repository& repository, const std::string& name,
                                             uint64_t epoch);

// Records the snapshots (full ids) that the holder of `claim` goes by. To be called once, after
// they were listed, which was after TakeClaim returned.
Status RecordClaimBase(Repository& repository, const Claim& claim,
                       const std::vector<std::string>& snapshots);

// What the holder of the highest epoch that recorded anything goes by.
struct ClaimBase {
  uint64_t epoch = 0;  // 0: there is none
  std::set<std::string> snapshots = {};
};
// A base that is damaged is warned about and passed over.
Result<ClaimBase> NewestClaimBase(Repository& repository, const std::string& name,
                                  Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_CLAIM_H_
