#include "agent/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace snapstore::agent {
namespace {

class Exposition {
 public:
  explicit Exposition(std::map<std::string, std::string> labels) : labels_(std::move(labels)) {}

  void Gauge(const char* name, const char* help, double value) {
    prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels_).Set(value);
  }
  void Counter(const char* name, const char* help, uint64_t value) {
    prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels_).Increment(
        static_cast<double>(value));
  }
  std::string Text() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

 private:
  const std::map<std::string, std::string> labels_;
  prometheus::Registry registry_;
};

double Seconds(int64_t nanos) { return static_cast<double>(nanos) / 1e9; }

}  // namespace

std::string MetricsText(const SupervisorStatus& status) {
  Exposition out({{"app", status.app}});
  const bool up = status.state != AppState::kStarting && status.state != AppState::kEnded;
  out.Gauge("snapstore_agent_application_up", "1 while the application runs.", up ? 1 : 0);
  out.Gauge("snapstore_agent_application_restored",
            "1 if the application was restored from a checkpoint at its start.",
            status.restored_from.empty() ? 0 : 1);
  if (status.lazy) {
    out.Gauge("snapstore_agent_lazy_memory_bytes", "Memory that came after the application ran.",
              static_cast<double>(status.lazy->bytes));
    out.Gauge("snapstore_agent_lazy_memory_missing_bytes", "What of it has not arrived yet.",
              static_cast<double>(status.lazy->missing_bytes));
    out.Counter("snapstore_agent_lazy_pages_touched_total",
                "Pages that the application waited for.", status.lazy->touched);
  }
  out.Counter("snapstore_agent_checkpoints_total", "Checkpoints committed.", status.taken);
  out.Counter("snapstore_agent_checkpoints_failed_total", "Checkpoints that failed.",
              status.failed);
  out.Counter("snapstore_agent_checkpoints_skipped_total",
              "Scheduled checkpoints skipped because one was running.", status.skipped);
  out.Gauge("snapstore_agent_checkpoints_verified", "Checkpoints that were found whole.",
            static_cast<double>(status.kept.verified.size()));
  out.Gauge("snapstore_agent_checkpoints_damaged", "Checkpoints that cannot be restored.",
            static_cast<double>(status.kept.damaged.size()));
  out.Counter("snapstore_agent_checkpoints_forgotten_total",
              "Checkpoints that made room for newer ones.", status.kept.forgotten);
  out.Gauge("snapstore_agent_next_checkpoint_timestamp_seconds",
            "When the next scheduled checkpoint is due.", Seconds(status.next_checkpoint_ns));
  if (status.dirty_bytes) {
    out.Gauge("snapstore_agent_dirty_bytes", "Memory changed since the newest checkpoint.",
              static_cast<double>(*status.dirty_bytes));
    out.Gauge("snapstore_agent_store_seconds", "How long it would take to store that.",
              status.store_seconds);
  }
  if (status.last_success) {
    const CheckpointRecord& last = *status.last_success;
    out.Gauge("snapstore_agent_last_checkpoint_timestamp_seconds",
              "When the newest committed checkpoint was begun.", Seconds(last.time_ns));
    out.Gauge("snapstore_agent_last_checkpoint_frozen_seconds",
              "How long the application stood still.", last.frozen_ms / 1000);
    out.Gauge("snapstore_agent_last_checkpoint_duration_seconds",
              "From the beginning to the commit.", last.seconds);
    out.Gauge("snapstore_agent_last_checkpoint_captured_bytes", "Memory images and external files.",
              static_cast<double>(last.bytes_captured));
    out.Gauge("snapstore_agent_last_checkpoint_new_bytes", "Not in the repository before.",
              static_cast<double>(last.bytes_new));
    out.Gauge("snapstore_agent_last_checkpoint_stored_bytes", "Added to the repository.",
              static_cast<double>(last.bytes_stored));
  }
  return out.Text();
}

std::string NodeMetricsText(const std::vector<NodeApplicationReport>& applications) {
  Exposition out({});
  uint64_t up = 0;
  uint64_t taken = 0;
  uint64_t failed = 0;
  uint64_t skipped = 0;
  for (const NodeApplicationReport& one : applications) {
    up += one.state == "running" || one.state == "checkpointing" ? 1 : 0;
    taken += one.taken;
    failed += one.failed;
    skipped += one.skipped;
  }
  out.Gauge("snapstore_agent_node_applications", "Applications of this node.",
            static_cast<double>(applications.size()));
  out.Gauge("snapstore_agent_node_applications_up", "Those of them that run.",
            static_cast<double>(up));
  out.Counter("snapstore_agent_node_checkpoints_total", "Checkpoints committed.", taken);
  out.Counter("snapstore_agent_node_checkpoints_failed_total", "Checkpoints that failed.", failed);
  out.Counter("snapstore_agent_node_checkpoints_skipped_total",
              "Scheduled checkpoints skipped because one was running.", skipped);
  return out.Text();
}

}  // namespace snapstore::agent
