// The dashboard: a page that a browser loads from the controller, and that knows nothing but the
// Spot API. Its files are part of the program; what is not among them is never served, whatever the
// path says.
//
// Thread safety: constants.
#ifndef SNAPSTORE_ORCHESTRATOR_DASHBOARD_DASHBOARD_H_
#define SNAPSTORE_ORCHESTRATOR_DASHBOARD_DASHBOARD_H_

#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace snapstore::spot {

// Files other than the page itself.
inline constexpr std::string_view kDashboardFolder = "/dashboard/";

struct DashboardFile {
  std::string_view content_type;
  std::string_view bytes;
};

// `path` is that of a URL, decoded: "/" is the page. None: there is no such file.
std::optional<DashboardFile> FindDashboardFile(std::string_view path);

// What browsers must be told with each of them, as name and value: nothing but these files is
// loaded or run, and no other site may show the page in a frame.
std::span<const std::pair<const char*, const char*>> DashboardHeaders();

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_DASHBOARD_DASHBOARD_H_
