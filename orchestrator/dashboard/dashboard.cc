#include "orchestrator/dashboard/dashboard.h"

#include "orchestrator/dashboard/internal/dashboard_data.h"

namespace snapstore::spot {
namespace {

constexpr std::string_view kPage = "index.html";

std::string_view ContentType(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  return "image/svg+xml";
}

}  // namespace

std::optional<DashboardFile> FindDashboardFile(std::string_view path) {
  std::string_view name = kPage;
  if (path != "/") {
    if (!path.starts_with(kDashboardFolder)) return std::nullopt;
    name = path.substr(kDashboardFolder.size());
    // It has one address: its links are relative to that.
    if (name == kPage) return std::nullopt;
  }
  for (const EmbeddedFile& file : EmbeddedFiles()) {
    if (name != file.name) continue;
    // Text is made of char.
    const char* bytes = reinterpret_cast<const char*>(file.bytes);  // NOLINT
    return DashboardFile{ContentType(name), {bytes, file.size}};
  }
  return std::nullopt;
}

std::span<const std::pair<const char*, const char*>> DashboardHeaders() {
  static constexpr std::pair<const char*, const char*> kHeaders[] = {
      {"Content-Security-Policy",
       "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
       "object-src 'none'; require-trusted-types-for 'script'"},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Frame-Options", "DENY"},
      {"Referrer-Policy", "no-referrer"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      // After an update of the controller no browser may mix old files with new ones.
      {"Cache-Control", "no-cache"},
  };
  return kHeaders;
}

}  // namespace snapstore::spot
