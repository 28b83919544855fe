#include "orchestrator/model/agent_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/tls_certificate.h"
#include "orchestrator/model/ids.h"
#include "orchestrator/model/internal/checks.h"
#include "orchestrator/model/internal/compute_fields.h"
#include "orchestrator/model/internal/fields.h"

namespace snapstore::spot {
namespace {

constexpr size_t kMessageBytesMax = 4096;
constexpr size_t kApplicationsMax = 20;  // as many as a node may have configurations
constexpr double kMillisMax = 1e12;
constexpr int64_t kBytesMax = int64_t{1} << 60;

enum class ApplicationState { kStarting, kRunning, kCheckpointing, kStopping, kEnded, kFailed };
enum class NoticeAction { kTerminate, kStop, kHibernate, kRebalance };

// As they stand in the body; the records' times are numbers.
struct WireApplication {
  std::string config_id;
  ApplicationState state = ApplicationState::kStarting;
  std::optional<std::string> restored_from;
  std::optional<std::string> reason;
  std::optional<std::string> error;
  std::optional<std::string> checkpoint_id;
  std::optional<std::string> checkpoint_at;
  std::vector<std::string> cpu_features;
};
struct WireCheckpoint {
  CheckpointReport report;
  std::string time;
  std::optional<std::string> checkpoint_id;
};
struct WireNotice {
  NoticeAction action = NoticeAction::kTerminate;
  std::optional<std::string> time;
};
struct WireReport {
  AgentRecord agent;
  int64_t port = 0;
  std::string private_ip;
  std::vector<WireApplication> applications;
  std::vector<WireCheckpoint> checkpoints;
  std::optional<WireNotice> notice;
};

std::string CheckFingerprint(const std::string& value) {
  return IsFingerprint(value) ? "" : "must be 64 hexadecimal digits";
}

// As the kernel spells them: "avx512_vbmi2".
std::string CheckFeature(const std::string& value) {
  const bool good =
      !value.empty() && value.size() <= 32 && std::all_of(value.begin(), value.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
      });
  return good ? "" : "must be 1 to 32 lower-case letters, digits and _";
}

std::string CheckToken(const std::string& value) {
  const bool good =
      value.size() >= 16 && value.size() <= 256 &&
      std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c < 0x7f; });
  return good ? "" : "must be 16 to 256 visible characters";
}

auto RealWithin(double most) {
  return [most](double value) {
    return value >= 0 && value <= most ? std::string()
                                       : fmt::format("must be between 0 and {}", most);
  };
}

int64_t Millis(const std::string& time) { return ParseTime(time).value() / 1'000'000; }

std::optional<int64_t> Millis(const std::optional<std::string>& time) {
  if (!time) return std::nullopt;
  return Millis(*time);
}

}  // namespace

template <>
struct EnumNames<ApplicationState> {
  static constexpr std::array<std::string_view, 6> kNames{"starting", "running", "checkpointing",
                                                          "stopping", "ended",   "failed"};
};
template <>
struct EnumNames<NoticeAction> {
  static constexpr std::array<std::string_view, 4> kNames{"terminate", "stop", "hibernate",
                                                          "rebalance"};
};

// In the namespace of the types, where the reader looks for them.
namespace {

template <typename V, Is<WireApplication> T>
void Fields(V& v, T& o) {
  v.Required("configId", o.config_id, IdOf{IdPrefix::kConfig});
  v.Required("state", o.state);
  v.Field("restoredFrom", o.restored_from, TextOf{1, 128});
  v.Field("reason", o.reason, TextOf{0, kMessageBytesMax});
  v.Field("error", o.error, TextOf{0, kMessageBytesMax});
  v.Field("checkpointId", o.checkpoint_id, TextOf{1, 128});
  v.Field("checkpointAt", o.checkpoint_at, CheckTime);
  v.Field("cpuFeatures", o.cpu_features, Each(CheckFeature), kUnique);
  v.Expect(o.checkpoint_id.has_value() == o.checkpoint_at.has_value(), "checkpointAt",
           "must be given exactly when checkpointId is");
}
template <typename V, Is<WireCheckpoint> T>
void Fields(V& v, T& o) {
  CheckpointReport& report = o.report;
  v.Required("configId", report.config_id, IdOf{IdPrefix::kConfig});
  v.Field("checkpointId", o.checkpoint_id, TextOf{1, 128});
  v.Required("time", o.time, CheckTime);
  v.Required("trigger", report.trigger, TextOf{1, 32});
  v.Field("frozenMs", report.frozen_ms, RealWithin(kMillisMax));
  v.Field("seconds", report.seconds, RealWithin(kMillisMax / 1000));
  v.Field("bytesCaptured", report.bytes_captured, Between(0, kBytesMax));
  v.Field("bytesNew", report.bytes_new, Between(0, kBytesMax));
  v.Field("bytesStored", report.bytes_stored, Between(0, kBytesMax));
  v.Field("error", report.error, TextOf{1, kMessageBytesMax});
  v.Expect(o.checkpoint_id.has_value() != report.error.has_value(), "checkpointId",
           "must be given exactly when error is not");
}
template <typename V, Is<WireNotice> T>
void Fields(V& v, T& o) {
  v.Required("action", o.action);
  v.Field("time", o.time, CheckTime);
}
template <typename V, Is<WireReport> T>
void Fields(V& v, T& o) {
  v.Required("instanceId", o.agent.instance_id, IdOf{"i-"});
  v.Required("port", o.port, Between(1, 65'535));
  v.Required("privateIp", o.private_ip, CheckIpv4);
  v.Required("controlToken", o.agent.control_token, CheckToken);
  v.Field("tlsFingerprint", o.agent.tls_fingerprint, CheckFingerprint);
  v.Field("version", o.agent.version, TextOf{0, 64});
  v.Field("cpuFeatures", o.agent.cpu_features, Each(CheckFeature), kUnique);
  v.Field("applications", o.applications, [](const std::vector<WireApplication>& all) {
    return all.size() > kApplicationsMax
               ? fmt::format("must have at most {} entries", kApplicationsMax)
               : Repeated(
                     all, [](const WireApplication& one) -> const auto& { return one.config_id; });
  });
  v.Field("checkpoints", o.checkpoints);
  v.Field("notice", o.notice);
}

ReportedApplication RecordOf(WireApplication&& wire) {
  return {.config_id = std::move(wire.config_id),
          .state = std::string(NameOf(wire.state)),
          .restored_from = std::move(wire.restored_from),
          .reason = std::move(wire.reason),
          .error = std::move(wire.error),
          .checkpoint_id = std::move(wire.checkpoint_id),
          .checkpoint_at_ms = Millis(wire.checkpoint_at),
          .cpu_features = std::move(wire.cpu_features)};
}

}  // namespace

std::optional<AgentReport> ParseAgentReport(const Json& object, FieldErrors* errors) {
  auto wire = ReadObject<WireReport>(object, "heartbeat", ReadMode::kRequest, errors);
  if (!wire) return std::nullopt;
  AgentReport report{std::move(wire->agent), {}};
  report.agent.address = fmt::format("{}:{}", wire->private_ip, wire->port);
  report.agent.applications.reserve(wire->applications.size());
  for (WireApplication& application : wire->applications) {
    report.agent.applications.push_back(RecordOf(std::move(application)));
  }
  report.checkpoints.reserve(wire->checkpoints.size());
  for (WireCheckpoint& checkpoint : wire->checkpoints) {
    checkpoint.report.checkpoint_id = checkpoint.checkpoint_id.value_or("");
    checkpoint.report.time_ms = Millis(checkpoint.time);
    report.checkpoints.push_back(std::move(checkpoint.report));
  }
  if (wire->notice) {
    report.agent.notice = NameOf(wire->notice->action);
    report.agent.notice_at_ms = Millis(wire->notice->time);
  }
  return report;
}

}  // namespace snapstore::spot
