// PackCatalog: every pack of a repository with its chunk table, each table read once.
//
// Tables come from index segments, and from the footers of packs that no segment lists; they are
// put aside in a scratch file. Memory: about 100 bytes a pack.
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_ENGINE_PACK_CATALOG_H_
#define SNAPSTORE_ENGINE_PACK_CATALOG_H_

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/format.h"
#include "engine/repository_impl.h"
#include "engine/scratch_file.h"
#include "engine/segment.h"
#include "snapstore/observer.h"

namespace snapstore {

struct CatalogPack {
  PackKind kind = PackKind::kData;
  PackId id;
  uint64_t size = 0;
  int64_t modified_ns = 0;
  // The chunk table; no bytes: it cannot be read.
  uint64_t table_at = 0;
  uint32_t table_bytes = 0;
  bool listed = false;  // in a segment
  // For the prune.
  bool condemned = false;   // by a mark
  bool held = false;        // too young: a writer at work may need it
  bool rewrite = false;     // live chunks are to be copied out of it
  uint64_t live_bytes = 0;  // about so much of the object is needed
};

struct CatalogSegment {
  uint64_t size = 0;
  std::vector<PackId> packs;
};

class PackCatalog {
 public:
  static Result<std::unique_ptr<PackCatalog>> Create(RepositoryImpl* repository,
                                                     Observer* observer);

  Status ListPacks();
  // Reads segments that were not read before.
  Status ReadSegments();
  // Tables that no segment gave.
  Status ReadFooters();
  // The same for one pack.
  Status ReadFooter(CatalogPack* pack);

  std::vector<CatalogPack>& packs() { return packs_; }
  CatalogPack* Find(const PackId& id);
  Result<std::vector<PackChunk>> Table(const CatalogPack& pack) const;
  // Segments that are there, as of the last ReadSegments.
  const std::map<Digest, CatalogSegment>& segments() const { return segments_; }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  PackCatalog(RepositoryImpl* repository, Observer* observer, std::unique_ptr<ScratchFile> file)
      : repository_(repository), observer_(observer), file_(std::move(file)) {}

  Status ReadSegment(const Digest& id, uint64_t size);
  Status KeepTable(std::span<const PackChunk> chunks, CatalogPack* pack);

  RepositoryImpl* const repository_;
  Observer* const observer_;
  const std::unique_ptr<ScratchFile> file_;
  std::vector<CatalogPack> packs_;
  std::unordered_map<PackId, uint32_t> ordinals_;
  std::map<Digest, CatalogSegment> segments_;
  uint64_t bytes_read_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_CATALOG_H_
