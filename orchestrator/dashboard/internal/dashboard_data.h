// The dashboard's files as the build put them into the program (embed.cmake). Private to the
// folder.
//
// Thread safety: constants.
#ifndef SNAPSTORE_ORCHESTRATOR_DASHBOARD_INTERNAL_DASHBOARD_DATA_H_
#define SNAPSTORE_ORCHESTRATOR_DASHBOARD_INTERNAL_DASHBOARD_DATA_H_

#include <cstddef>
#include <span>

namespace snapstore::spot {

struct EmbeddedFile {
  const char* name;  // "app.js"
  const unsigned char* bytes;
  size_t size;  // in bytes
};

std::span<const EmbeddedFile> EmbeddedFiles();

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_DASHBOARD_INTERNAL_DASHBOARD_DATA_H_
