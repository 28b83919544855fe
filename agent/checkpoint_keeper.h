// CheckpointKeeper: looks after the checkpoints of one application in a repository, in a thread of
// its own: verifies what was committed, and forgets what is older than the newest few that are
// good.
//
// Verified means: read back from the store, the manifest is whole, and so is every pack that it
// needs, byte for byte. A pack that was read is not read again for the checkpoints of the next day.
// Nothing is forgotten for a checkpoint that is not verified: a good one never makes room for a
// damaged one. What only forgotten checkpoints needed is given back by a prune, now and then.
//
// When one is found damaged all others are in doubt, and verified anew. No later checkpoint is
// based on it (ParentFor), and what the damaged packs held is stored again (AvoidDamagedPacks): the
// next one is whole.
//
// Thread safety: all calls may come from any thread.
#ifndef SNAPSTORE_AGENT_CHECKPOINT_KEEPER_H_
#define SNAPSTORE_AGENT_CHECKPOINT_KEEPER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "snapstore/repository.h"

namespace snapstore::agent {

struct KeeperOptions {
  std::string app;
  std::string state_directory;  // remembers there what is verified
  size_t keep = 3;              // verified checkpoints; 0: none is ever forgotten
  std::chrono::milliseconds prune_interval{3'600'000};
  // After so long, packs are read again for the next checkpoint that needs them.
  std::chrono::milliseconds reread_interval{24 * 3'600'000};
};

struct KeeperStatus {
  std::set<std::string> verified;  // ids of checkpoints that are there
  std::set<std::string> damaged;
  uint64_t forgotten = 0;  // since the keeper was made
  uint64_t prunes = 0;
  uint64_t rounds = 0;  // that came to their end
  std::string error;    // of the last round; empty: it went well
};

class CheckpointKeeper {
 public:
  // `repository` must outlive it.
  static std::unique_ptr<CheckpointKeeper> Start(Repository* repository, KeeperOptions options);
  // Waits until the step that is under way is done.
  ~CheckpointKeeper();

  // There may be a new checkpoint: a round begins, at once unless held.
  void Look();

  // While one lives no step is begun: a checkpoint is being taken.
  class Hold {
   public:
    explicit Hold(CheckpointKeeper* keeper);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    CheckpointKeeper* const keeper_;
  };

  // What the next checkpoint may be compared with in place of `id`: that, unless it is damaged;
  // then the newest verified one, or empty, none.
  std::string ParentFor(const std::string& id) const;
  // Somebody met damage: the next round verifies everything anew.
  void Doubt();

  KeeperStatus status() const;

 private:
  struct Impl;
  explicit CheckpointKeeper(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINT_KEEPER_H_
