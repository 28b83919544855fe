#include <fmt/format.h>

#include "base/status_macros.h"
#include "orchestrator/model/ids.h"
#include "tools/snapstore_controller/api_client.h"
#include "tools/snapstore_controller/command.h"

namespace snapstore::spot {
namespace {

constexpr const char* kBase = "/aws/ec2/managedInstance";
constexpr int64_t kEventsAtOnce = 1000;

struct NodeOptions {
  ApiClient client;
  std::string id;
  int64_t after = 0;
};

std::string TextOf(const Json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "-";
}

void PrintJson(const char* type, const Json& item) {
  Json document = {{"message_type", type}};
  document.update(item);
  fmt::print("{}\n", JsonText(document));
}

Status CheckNodeId(const std::string& id) {
  if (IsId(IdPrefix::kNode, id)) return Status::Ok();
  return Status::InvalidArgument(fmt::format("ID: must be of the form smi-…, not '{}'", id));
}

Status List(const NodeOptions& options, bool json) {
  const std::string path = fmt::format("{}/status", kBase);
  SNAP_ASSIGN_OR_RETURN(const Json nodes, options.client.Call("GET", path));
  for (const Json& node : nodes) {
    if (json) {
      PrintJson("node", node);
    } else {
      fmt::print("{}  {:12}  {:20}  {:15}  {}\n", TextOf(node, "id"), TextOf(node, "status"),
                 TextOf(node, "instanceId"), TextOf(node, "privateIp"), TextOf(node, "name"));
    }
  }
  return Status::Ok();
}

void PrintRow(std::string_view name, std::string_view value) {
  fmt::print("{:17} {}\n", name, value);
}

std::string CheckpointText(const Json& checkpoint) {
  if (TextOf(checkpoint, "error") != "-") {
    return fmt::format("{}, failed: {}", TextOf(checkpoint, "time"), TextOf(checkpoint, "error"));
  }
  return fmt::format("{}, frozen {:.1f} ms, {} bytes stored", TextOf(checkpoint, "time"),
                     checkpoint.value("frozenMs", 0.0),
                     checkpoint.value("bytesStored", int64_t{0}));
}

std::string DeviceText(const Json& device) {
  std::string text = TextOf(device, "deviceName");
  // A volume that was dropped lives in its newest snapshot.
  if (!device.value("volumeId", "").empty()) text += " is " + TextOf(device, "volumeId");
  if (TextOf(device, "snapshotId") != "-") {
    text += ", newest snapshot " + TextOf(device, "snapshotId");
  }
  return text;
}

void PrintStatus(const Json& status) {
  for (const auto& [name, value] : status.items()) {
    if (name == "lastCheckpoint" && value.is_object()) {
      PrintRow(name, CheckpointText(value));
    } else if (name == "devices" && value.is_array() && !value.empty()) {
      for (size_t i = 0; i < value.size(); ++i) {
        PrintRow(i == 0 ? name : std::string(), DeviceText(value[i]));
      }
    } else if (value.is_null() || (value.is_structured() && value.empty())) {
      PrintRow(name, "-");
    } else {
      PrintRow(name, value.is_string() ? value.get<std::string>() : JsonText(value));
    }
  }
}

void PrintAgent(const Json& agent) {
  if (!agent.is_object()) {
    PrintRow("agent", "none has reported");
    return;
  }
  fmt::print("{:17} {} on {} at {}, version {}, seen {}\n", "agent",
             agent.value("healthy", false) ? "healthy" : "not healthy", TextOf(agent, "instanceId"),
             TextOf(agent, "address"), TextOf(agent, "version"), TextOf(agent, "seenAt"));
  if (TextOf(agent, "notice") != "-") {
    fmt::print("{:17} {} at {}\n", "notice", TextOf(agent, "notice"), TextOf(agent, "noticeAt"));
  }
  for (const Json& one : agent.value("applications", Json::array())) {
    fmt::print("{:17} {}: {}, restored from {}, newest checkpoint {} of {}\n", "application",
               TextOf(one, "configId"), TextOf(one, "state"), TextOf(one, "restoredFrom"),
               TextOf(one, "checkpointId"), TextOf(one, "checkpointAt"));
    for (const char* detail : {"reason", "error"}) {
      if (TextOf(one, detail) != "-") fmt::print("{:17} {}\n", "", TextOf(one, detail));
    }
  }
}

Status Show(const NodeOptions& options, bool json) {
  SNAP_RETURN_IF_ERROR(CheckNodeId(options.id));
  const std::string path = fmt::format("{}/{}", kBase, options.id);
  SNAP_ASSIGN_OR_RETURN(const Json node, options.client.Call("GET", path));
  SNAP_ASSIGN_OR_RETURN(const Json status, options.client.Call("GET", path + "/status"));
  SNAP_ASSIGN_OR_RETURN(const Json agents, options.client.Call("GET", path + "/agent"));
  const Json agent = agents.empty() ? Json() : agents.at(0);
  if (json) {
    PrintJson("node", {{"status", status.at(0)}, {"agent", agent}, {"node", node.at(0)}});
    return Status::Ok();
  }
  PrintStatus(status.at(0));
  PrintAgent(agent);
  fmt::print("{}\n", node.at(0).dump(2, ' ', false, Json::error_handler_t::replace));
  return Status::Ok();
}

Status Act(const NodeOptions& options, const char* action, bool json) {
  SNAP_RETURN_IF_ERROR(CheckNodeId(options.id));
  SNAP_RETURN_IF_ERROR(
      options.client.Call("PUT", fmt::format("{}/{}/{}", kBase, options.id, action)).status());
  if (json) PrintJson("asked", {{"id", options.id}, {"action", action}});
  return Status::Ok();
}

Status Events(const NodeOptions& options, bool json) {
  SNAP_RETURN_IF_ERROR(CheckNodeId(options.id));
  SNAP_ASSIGN_OR_RETURN(
      const Json events,
      options.client.Call("GET", fmt::format("{}/{}/events", kBase, options.id),
                          fmt::format("after={}&limit={}", options.after, kEventsAtOnce)));
  for (const Json& event : events) {
    if (json) {
      PrintJson("event", event);
    } else {
      fmt::print("{:6} {} {:5} {}: {}\n", event.value("sequence", int64_t{0}),
                 TextOf(event, "createdAt"), TextOf(event, "severity"), TextOf(event, "eventType"),
                 TextOf(event, "message"));
    }
  }
  return Status::Ok();
}

Status Checkpoints(const NodeOptions& options, bool json) {
  SNAP_RETURN_IF_ERROR(CheckNodeId(options.id));
  SNAP_ASSIGN_OR_RETURN(
      const Json checkpoints,
      options.client.Call("GET", fmt::format("{}/{}/checkpoints", kBase, options.id),
                          fmt::format("after={}&limit={}", options.after, kEventsAtOnce)));
  for (const Json& one : checkpoints) {
    if (json) {
      PrintJson("checkpoint", one);
      continue;
    }
    fmt::print("{:6} {} {} {:9} ", one.value("sequence", int64_t{0}), TextOf(one, "time"),
               TextOf(one, "configId"), TextOf(one, "trigger"));
    if (TextOf(one, "error") != "-") {
      fmt::print("failed: {}\n", TextOf(one, "error"));
    } else {
      fmt::print("{} frozen {:.1f} ms, {:.2f} s, {} bytes captured, {} new, {} stored\n",
                 TextOf(one, "checkpointId"), one.value("frozenMs", 0.0), one.value("seconds", 0.0),
                 one.value("bytesCaptured", int64_t{0}), one.value("bytesNew", int64_t{0}),
                 one.value("bytesStored", int64_t{0}));
    }
  }
  return Status::Ok();
}

}  // namespace

void AddNodeCommands(Program* program) {
  auto options = std::make_shared<NodeOptions>();
  CLI::App* group =
      program->root.add_subcommand("node", "Look at stateful nodes and ask things of them.");
  group->fallthrough();
  group->require_subcommand(1);
  group->footer(R"(
Examples:
  snapstore-controller node list --token-file token
  snapstore-controller node pause smi-0a1b2c3d --url https://controller:8080)");
  const auto add = [&](const char* name, const char* what, auto run, bool with_id) {
    CLI::App* app = group->add_subcommand(name, what);
    app->fallthrough();
    if (with_id) app->add_option("ID", options->id, "The node, smi-…")->required();
    options->client.AddOptions(app);
    app->callback([program, options, run] {
      program->run = [program, options, run] { return run(*options, program->globals.json); };
    });
    return app;
  };
  add("list", "List the nodes of the account and their states.", &List, false);
  add("show", "Show a node's state, agent and configuration.", &Show, true);
  const std::pair<const char*, const char*> actions[] = {
      {"pause", "Give the instance up and keep what it needs to come back."},
      {"resume", "Bring a paused node back."},
      {"recycle", "Replace the instance."}};
  for (const auto& [action, what] : actions) {
    add(
        action, what,
        [name = action](const NodeOptions& given, bool json) { return Act(given, name, json); },
        true);
  }
  CLI::App* events =
      add("events", "Show what happened to a node, the oldest first.", &Events, true);
  CLI::App* checkpoints =
      add("checkpoints", "List the checkpoints that a node's agent reported, the oldest first.",
          &Checkpoints, true);
  for (CLI::App* app : {events, checkpoints}) {
    app->add_option("--after", options->after, "Only those after this sequence number")
        ->check(CLI::NonNegativeNumber);
  }
}

}  // namespace snapstore::spot
