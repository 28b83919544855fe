// Makes whole what CRIU dumped without the pages that a CriuFilter hid from it.
#ifndef SNAPSTORE_AGENT_HIDDEN_PAGES_H_
#define SNAPSTORE_AGENT_HIDDEN_PAGES_H_

#include <vector>

#include "agent/arena.h"
#include "agent/checkpoint_image.h"
#include "agent/criu_filter.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// Adds the hidden pages to the page maps, as CRIU would have dumped them; the pages images get
// ArenaFile::only_changed. `unchanged` becomes the pages by page map that the parent must have.
// Takes memory of `arena` for the new page maps: NoSpace. Corruption: what was hidden is not what
// is missing.
Status AddHiddenPages(const PagesByProcess& hidden, Arena* arena, std::vector<ArenaFile>* files,
                      PagesByMap* unchanged);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_HIDDEN_PAGES_H_
