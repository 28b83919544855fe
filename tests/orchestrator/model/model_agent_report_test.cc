#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/model/agent_report.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

constexpr const char* kFull = R"({
  "instanceId": "i-1", "port": 9527, "privateIp": "10.0.1.5",
  "controlToken": "0123456789abcdef", "tlsFingerprint":
  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "version": "0.1", "cpuFeatures": ["avx2", "sse4_2"],
  "applications": [{"configId": "apc-1", "state": "running", "restoredFrom": "c0",
    "reason": "restored", "error": null, "checkpointId": "c1",
    "checkpointAt": "2026-03-01T09:15:00.250Z", "cpuFeatures": ["avx2"]},
    {"configId": "apc-2", "state": "failed", "error": "no such program"}],
  "checkpoints": [{"configId": "apc-1", "checkpointId": "c1", "time": "2026-03-01T09:15:00.250Z",
    "trigger": "schedule", "frozenMs": 12.5, "seconds": 0.5, "bytesCaptured": 300, "bytesNew": 20,
    "bytesStored": 10},
    {"configId": "apc-1", "time": "2026-03-01T09:18:00Z", "trigger": "schedule",
     "error": "a file is missing"}],
  "notice": {"action": "terminate", "time": "2026-03-01T09:20:00Z"}
})";

TEST(AgentReport, BecomesRecords) {
  FieldErrors errors;
  const auto report = ParseAgentReport(Json::parse(kFull), &errors);
  ASSERT_TRUE(report) << errors.ToStatus().message();
  EXPECT_EQ(report->agent.address, "10.0.1.5:9527");
  EXPECT_THAT(report->agent.tls_fingerprint.value_or(""), HasSubstr("0123456789abcdef"));
  ASSERT_EQ(report->agent.applications.size(), 2u);
  EXPECT_EQ(report->agent.applications[0].state, "running");
  EXPECT_EQ(report->agent.applications[0].checkpoint_at_ms, 1'772'356'500'250);
  EXPECT_EQ(report->agent.applications[1].error, "no such program");
  EXPECT_EQ(report->agent.notice, "terminate");
  EXPECT_EQ(report->agent.notice_at_ms, 1'772'356'800'000);
  ASSERT_EQ(report->checkpoints.size(), 2u);
  EXPECT_EQ(report->checkpoints[0].checkpoint_id, "c1");
  EXPECT_EQ(report->checkpoints[0].bytes_stored, 10);
  EXPECT_EQ(report->checkpoints[1].checkpoint_id, "");
  EXPECT_EQ(report->checkpoints[1].error, "a file is missing");
}

TEST(AgentReport, NeedsLittle) {
  FieldErrors errors;
  const auto report =
      ParseAgentReport(Json::parse(R"({"instanceId": "i-1", "port": 1, "privateIp": "10.0.1.5",
                      "controlToken": "0123456789abcdef", "notice": null})"),
                       &errors);
  ASSERT_TRUE(report) << errors.ToStatus().message();
  EXPECT_FALSE(report->agent.notice);
  EXPECT_FALSE(report->agent.tls_fingerprint) << "it speaks plain HTTP";
  EXPECT_TRUE(report->agent.applications.empty());
}

// A JSON patch (RFC 6902) of the full report, and what is wrong then.
struct Wrong {
  const char* path;
  const char* value;  // empty: the member is taken away
  const char* problem;
};

void ExpectRefused(const Wrong& wrong) {
  Json patch = {{"path", wrong.path}};
  if (*wrong.value == '\0') {
    patch["op"] = "remove";
  } else {
    patch["op"] = "add";
    patch["value"] = Json::parse(wrong.value);
  }
  FieldErrors errors;
  EXPECT_FALSE(ParseAgentReport(Json::parse(kFull).patch(Json::array({patch})), &errors))
      << wrong.path << " " << wrong.value;
  EXPECT_THAT(errors.ToStatus().message(), HasSubstr(std::string("heartbeat") + wrong.problem));
}

TEST(AgentReport, RefusesBadValues) {
  const std::string long_text(4097, 'x');
  const std::string long_error = fmt::format("\"{}\"", long_text);
  for (const Wrong& wrong : {
           Wrong{"/instanceId", "", ".instanceId: is required"},
           Wrong{"/instanceId", "\"x\"", ".instanceId: must be an id"},
           Wrong{"/port", "", ".port: is required"},
           Wrong{"/port", "0", ".port: must be between"},
           Wrong{"/port", "65536", ".port: must be between"},
           Wrong{"/privateIp", "", ".privateIp: is required"},
           Wrong{"/privateIp", "\"::1\"", ".privateIp: must be a dotted"},
           Wrong{"/controlToken", "", ".controlToken: is required"},
           Wrong{"/controlToken", "\"short\"", ".controlToken: must be 16 to 256"},
           Wrong{"/controlToken", "\"0123456789 abcdef\"", ".controlToken: must be 16 to 256"},
           Wrong{"/tlsFingerprint", "\"0123\"", ".tlsFingerprint: must be 64"},
           Wrong{"/version", "\"a\\nb\"", ".version: must not contain control"},
           Wrong{"/cpuFeatures/0", "\"AVX\"", ".cpuFeatures[0]: must be 1 to 32"},
           Wrong{"/cpuFeatures/0", "\"sse4_2\"", ".cpuFeatures: has 'sse4_2' twice"},
           Wrong{"/applications/0/configId", "", ".applications[0].configId: is required"},
           Wrong{"/applications/0/configId", "\"apc-2\"", ".applications: has 'apc-2' twice"},
           Wrong{"/applications/0/configId", "\"../x\"", ".applications[0].configId: must be"},
           Wrong{"/applications/0/state", "", ".applications[0].state: is required"},
           Wrong{"/applications/0/state", "\"dead\"", ".applications[0].state: must be one of"},
           Wrong{"/applications/0/restoredFrom", "\"\"", ".applications[0].restoredFrom: must not"},
           Wrong{"/applications/0/reason", long_error.c_str(), ".applications[0].reason: must be"},
           Wrong{"/applications/0/error", long_error.c_str(), ".applications[0].error: must be"},
           Wrong{"/applications/0/checkpointId", "", ".applications[0].checkpointAt: must be"},
           Wrong{"/applications/0/checkpointAt", "\"soon\"", ".applications[0].checkpointAt: must"},
           Wrong{"/applications/0/cpuFeatures/0", "\"\"", ".applications[0].cpuFeatures[0]: must"},
           Wrong{"/checkpoints/0/configId", "", ".checkpoints[0].configId: is required"},
           Wrong{"/checkpoints/0/checkpointId", "", ".checkpoints[0].checkpointId: must be given"},
           Wrong{"/checkpoints/1/checkpointId", "\"c\"", ".checkpoints[1].checkpointId: must be"},
           Wrong{"/checkpoints/0/time", "", ".checkpoints[0].time: is required"},
           Wrong{"/checkpoints/0/time", "\"2026-03-01\"", ".checkpoints[0].time: must be"},
           Wrong{"/checkpoints/0/trigger", "\"\"", ".checkpoints[0].trigger: must not be empty"},
           Wrong{"/checkpoints/0/frozenMs", "-1", ".checkpoints[0].frozenMs: must be between"},
           Wrong{"/checkpoints/0/seconds", "1e300", ".checkpoints[0].seconds: must be between"},
           Wrong{"/checkpoints/0/bytesCaptured", "-1", ".checkpoints[0].bytesCaptured: must be"},
           Wrong{"/checkpoints/0/bytesNew", "1.5", ".checkpoints[0].bytesNew: must be an integer"},
           Wrong{"/checkpoints/0/bytesStored", "9e30", ".checkpoints[0].bytesStored: must be an"},
           Wrong{"/notice/action", "\"go\"", ".notice.action: must be one of terminate"},
           Wrong{"/notice/action", "", ".notice.action: is required"},
           Wrong{"/notice/time", "\"2026\"", ".notice.time: must be"},
           Wrong{"/applicatons", "[]", ".applicatons: is not a known field; did you mean"},
           Wrong{"/applications/0/x", "1", ".applications[0].x: is not a known field"},
           Wrong{"/checkpoints/0/x", "1", ".checkpoints[0].x: is not a known field"},
           Wrong{"/notice/x", "1", ".notice.x: is not a known field"},
       }) {
    ExpectRefused(wrong);
  }
  FieldErrors errors;
  EXPECT_FALSE(ParseAgentReport(Json::parse("[]"), &errors));
  EXPECT_THAT(errors.ToStatus().message(), HasSubstr("heartbeat: must be an object"));
}

// Each field, in each place, with a value of every other type.
TEST(AgentReport, RefusesOtherTypes) {
  const Json full = Json::parse(kFull);
  const Json flat = full.flatten();
  std::vector<std::string> paths = {"/applications", "/checkpoints",    "/cpuFeatures",
                                    "/notice",       "/applications/0", "/checkpoints/0"};
  for (const auto& [path, value] : flat.items()) paths.push_back(path);
  for (const std::string& path : paths) {
    const Json::json_pointer pointer(path);
    for (const Json& value : {Json(true), Json(7), Json("x"), Json::array({Json::array()}),
                              Json::object({{"y", Json::array()}})}) {
      const bool is_error = path.ends_with("/error") && full.at(pointer).is_null();
      if (value.is_string() && (full.at(pointer).is_string() || is_error)) continue;
      if (value.is_number() && full.at(pointer).is_number()) continue;
      Json changed = full;
      changed[pointer] = value;
      FieldErrors errors;
      EXPECT_FALSE(ParseAgentReport(changed, &errors)) << path << " " << value.dump();
      EXPECT_FALSE(errors.empty());
    }
  }
}

TEST(AgentReport, IsLimited) {
  Json report = Json::parse(kFull);
  for (int i = 3; i <= 21; ++i) {
    report["applications"].push_back({{"configId", fmt::format("apc-{}", i)}, {"state", "ended"}});
  }
  FieldErrors errors;
  EXPECT_FALSE(ParseAgentReport(report, &errors));
  EXPECT_THAT(errors.ToStatus().message(), HasSubstr("applications: must have at most 20"));
}

}  // namespace
}  // namespace snapstore::spot
