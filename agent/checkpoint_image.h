// How CRIU's images are laid out in a snapshot, and back.
//
// CRIU packs the pages of a process densely into pages-N.img: one new page moves all later ones, so
// nothing would be found again at the same offset. In a snapshot
//   criu/<image>               is every image but the pages, as CRIU wrote it;
//   memory/<pagemap-….img>     is the content of the pages image that this page map describes, as a
//                              sparse file in which each page lies at its virtual address (or
//                              offset in shared memory): between two checkpoints pages stay where
//                              they are.
// The pages image is put together again by walking the page map. A pages image that no page map
// describes exactly stays as it is below criu/.
#ifndef SNAPSTORE_AGENT_CHECKPOINT_IMAGE_H_
#define SNAPSTORE_AGENT_CHECKPOINT_IMAGE_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/address_set.h"
#include "agent/arena.h"
#include "agent/criu_image.h"
#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore::agent {

inline constexpr const char* kImageFolder = "criu/";
inline constexpr const char* kMemoryFolder = "memory/";
inline constexpr const char* kFilesFolder = "files";  // followed by an absolute path

// An image kept byte by byte under `name`. Refers to the file's memory.
MemorySource FileSource(const ArenaFile& file, std::string name);

// Whether no page of a pages image is split between two parts.
bool PartsArePages(const ArenaFile& file);

// Pages by the name of the page map that has them.
using PagesByMap = std::map<std::string, AddressSet>;

// All images of one dump. The sources refer to the files' memory. `unchanged` pages, which the
// parent has in its memory files, are taken from there; if `placed` is not null it becomes what is
// in memory files now. Corruption: a damaged page map; Internal: a pages image lacks what is not
// unchanged.
Result<std::vector<MemorySource>> ImageSources(const std::vector<ArenaFile>& files,
                                               const PagesByMap& unchanged = {},
                                               PagesByMap* placed = nullptr);

// The name CRIU gives the pages image with this id, and whether a name is one of such or of a page
// map.
std::string PagesImageName(uint32_t pages_id);
bool IsPagesName(std::string_view name);
bool IsPagemapName(std::string_view name);

// Addresses that share a memory file. Stored: do not change.
inline constexpr uint64_t kWindowBytes = 64 << 20;

// The memory file for `address`, of the page map named so.
std::string MemoryFileName(std::string_view pagemap_name, uint64_t address);

// Fills `out` with the pages of `runs`, in order, all of which lie in the window of runs[0]. Called
// from several threads at once.
using ReadWindowFunction =
    std::function<Status(const std::vector<PageRun>& runs, MutableByteSpan out)>;

// Writes the pages image that consists of `runs` to `fd`, reading up to `ahead` windows at a time
// (at least one), each of which takes up to kWindowBytes of memory.
Status WritePages(const std::vector<PageRun>& runs, const ReadWindowFunction& read_window,
                  unsigned ahead, int fd);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CHECKPOINT_IMAGE_H_
