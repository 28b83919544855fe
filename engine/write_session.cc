#include "engine/write_session.h"

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "engine/manifest.h"

namespace snapstore {

Result<std::unique_ptr<WriteSession>> WriteSession::Begin(RepositoryImpl* repository) {
  std::unique_ptr<WriteSession> session(new WriteSession(repository));
  SNAP_ASSIGN_OR_RETURN(session->lease_, repository->TakeLease());
  return session;
}

Status WriteSession::Start(std::vector<PackId> inherited, PackWriterOptions options,
                           Observer* observer) {
  SNAP_RETURN_IF_ERROR(repository_->SyncIndex(observer));
  SNAP_ASSIGN_OR_RETURN(ChunkIndex * index, repository_->Index());
  ObjectStore& store = repository_->store();
  const Sealer& sealer = repository_->sealer();
  table_ = std::make_unique<PackTable>(std::move(inherited));
  SNAP_ASSIGN_OR_RETURN(CondemnedSet off_limits, repository_->AvoidedPacks());
  off_limits.insert(lease_->condemned().begin(), lease_->condemned().end());
  guard_ = std::make_unique<DedupGuard>(&store, std::move(off_limits));
  publisher_ = std::make_unique<SegmentPublisher>(&store, &sealer, index);
  SNAP_RETURN_IF_ERROR(PublishLeftovers(store, sealer, *index, guard_.get(), publisher_.get()));
  options.guard = guard_.get();
  packs_ =
      std::make_unique<PackWriter>(&store, &sealer, index, publisher_.get(), table_.get(), options);
  return {};
}

Status WriteSession::StorePackTable(const format::Manifest* parent, format::Manifest* manifest) {
  // Leaves are stored in packs that come after this copy; leaves name them directly.
  const std::vector<PackId> packs = table_->Copy();
  const size_t full_leaves = packs.size() / kPackTableLeafEntries;
  const int inherited = parent != nullptr ? parent->pack_table_size() : 0;
  std::vector<PendingRef> added;
  for (size_t leaf = 0; leaf < full_leaves; ++leaf) {
    if (leaf < static_cast<size_t>(inherited)) {
      *manifest->add_pack_table() = parent->pack_table(static_cast<int>(leaf));
      continue;
    }
    Bytes bytes;
    ByteWriter writer(&bytes);
    for (size_t i = 0; i < kPackTableLeafEntries; ++i) {
      writer.Raw(packs[leaf * kPackTableLeafEntries + i].bytes);
    }
    const ChunkId id = ComputeChunkId(secret(), bytes);
    SNAP_ASSIGN_OR_RETURN(PendingRef ref, packs_->Put(PackKind::kMeta, id, bytes));
    added.push_back(std::move(ref));
  }
  if (!added.empty()) SNAP_RETURN_IF_ERROR(packs_->Flush());
  for (const PendingRef& pending : added) {
    const ChunkRef ref = pending.Resolve();
    SNAP_ASSIGN_OR_RETURN(const PackId pack, table_->PackAt(ref.pack));
    format::PackTableLeaf* const leaf = manifest->add_pack_table();
    leaf->set_hash(ref.id.hash.data(), ref.id.hash.size());
    leaf->set_length(ref.id.length);
    leaf->set_pack(pack.bytes.data(), pack.bytes.size());
    leaf->set_frame_offset(ref.frame_offset);
    leaf->set_frame_length(ref.frame_length);
    leaf->set_chunk_in_frame(ref.chunk_in_frame);
  }
  std::string tail;
  for (size_t i = full_leaves * kPackTableLeafEntries; i < packs.size(); ++i) {
    tail.append(reinterpret_cast<const char*>(packs[i].bytes.data()), packs[i].bytes.size());
  }
  manifest->set_pack_table_tail(tail);
  return {};
}

Status WriteSession::Publish() {
  SNAP_RETURN_IF_ERROR(packs_->Flush());
  return publisher_->Finish();
}

Status WriteSession::Finish(const format::Manifest* parent, format::Manifest* manifest) {
  SNAP_RETURN_IF_ERROR(packs_->Flush());
  SNAP_RETURN_IF_ERROR(StorePackTable(parent, manifest));
  return Publish();
}

Result<Digest> WriteSession::Commit(const format::Manifest& manifest, const Digest* parent) {
  const Bytes bytes = EncodeManifest(repository_->sealer(), manifest);
  const Digest id = Sha256::Of(bytes);
  const ByteSpan parts[] = {bytes};
  SNAP_RETURN_IF_ERROR(lease_->Ensure());
  const auto put = repository_->store().PutIfAbsent(ManifestKey(id), parts);
  if (!put.ok()) return put.status().WithContext("store manifest " + id.ToHex());
  SNAP_RETURN_IF_ERROR(ConfirmCommit(id, manifest, parent));
  return id;
}

Status WriteSession::ConfirmCommit(const Digest& id, const format::Manifest& manifest,
                                   const Digest* parent) {
  std::string doubt;
  const Result<bool> covered = lease_->Covered(ManifestKey(id));
  if (!covered.ok()) {
    return covered.status().WithContext("snapshot " + id.ToHex() +
                                        " is stored, but could not be confirmed");
  }
  if (!*covered || lease_->Expired()) doubt = "it took so long that its writer lease expired";
  if (doubt.empty() && parent != nullptr && !lease_->seen().marks.empty()) {
    // This prune does not wait for this writer. What was taken over from the parent is safe as long
    // as the parent was there until now, and so was seen by it.
    bool there = false;
    const ObjectKey key = ManifestKey(*parent);
    SNAP_RETURN_IF_ERROR(repository_->store().List(key.text(), [&](const ObjectInfo&) {
      there = true;
      return Status();
    }));
    if (!there) doubt = "its parent snapshot was forgotten meanwhile";
  }
  if (doubt.empty()) return {};
  // The marks of now count, and what they do not name must be there.
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<WriterLease> fresh, repository_->TakeLease());
  DedupGuard present(&repository_->store(), fresh->condemned());
  std::vector<PackId> needed = table_->Copy();
  for (const format::PackTableLeaf& leaf : manifest.pack_table()) {
    // A leaf's own pack is in no table of the parent that it was taken over from.
    SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, PackTableChunk(leaf));
    needed.push_back(chunk.pack);
  }
  for (const PackId& pack : needed) {
    SNAP_ASSIGN_OR_RETURN(const bool there, present.MayReferTo(PackKind::kData, pack));
    if (there) continue;
    const Status removed = repository_->store().Delete(ManifestKey(id));
    return Status::Conflict("snapshot " + id.ToHex() + " is not to be relied on" +
                            (removed.ok() ? " and was removed" : "") + ": " + doubt +
                            ", and a prune took packs that it may need; run it again");
  }
  return {};
}

}  // namespace snapstore
