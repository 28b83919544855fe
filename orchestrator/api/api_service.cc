#include "orchestrator/api/api_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/api/internal/replies.h"
#include "orchestrator/model/ids.h"

namespace snapstore::spot {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr std::chrono::seconds kRateWindow{60};
constexpr int64_t kEntriesAtOnceMax = 1000;

std::vector<std::string_view> Segments(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return segments;
}

int64_t NumberParameter(const ApiRequest& request, const char* name, int64_t fallback,
                        FieldErrors* errors) {
  const auto text = request.Parameter(name);
  if (!text) return fallback;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error == std::errc() && end == text->data() + text->size() && number >= 0) return number;
  errors->Add(name, "must be a number, not negative");
  return fallback;
}

size_t LimitParameter(const ApiRequest& request, size_t fallback, FieldErrors* errors) {
  const int64_t limit = NumberParameter(request, "limit", static_cast<int64_t>(fallback), errors);
  if (limit >= 1 && limit <= kEntriesAtOnceMax) return static_cast<size_t>(limit);
  errors->Add("limit", fmt::format("must be between 1 and {}", kEntriesAtOnceMax));
  return fallback;
}

}  // namespace

ApiReply FailureReply(const Status& status, const std::string& code) {
  if (status.Is(StatusCode::kInvalidArgument)) return ApiReply::Error(400, code, status.message());
  LogError("API: {}", status.ToString());
  // What a disk or a peer said is not for callers.
  return ApiReply::Error(500, ErrorCode::kGeneral,
                         status.Is(StatusCode::kConflict)
                             ? "the object was changed by others again and again; try again"
                             : "internal error; the controller's log has the reason");
}

const Json* RootOf(const Json& body, const char* root, FieldErrors* errors) {
  if (!body.is_object()) {
    errors->Add(root, "is required: the body must be an object with this one member");
    return nullptr;
  }
  const Json* found = nullptr;
  for (const auto& [name, value] : body.items()) {
    if (name == root) {
      found = &value;
    } else {
      errors->Add(name.substr(0, 64), fmt::format("is not a known field beside {}", root));
    }
  }
  if (found == nullptr) errors->Add(root, "is required");
  return errors->empty() ? found : nullptr;
}

ApiReply NodeFailed(const Status& status, const std::string& id, const char* code) {
  if (!status.Is(StatusCode::kNotFound)) return FailureReply(status, code);
  return ApiReply::Error(400, ErrorCode::kNoNode,
                         fmt::format("No stateful node {} in this account", id),
                         "managedInstanceId");
}

Page PageParameters(const ApiRequest& request, FieldErrors* errors) {
  Page page;
  page.after = NumberParameter(request, "after", page.after, errors);
  page.limit = LimitParameter(request, page.limit, errors);
  return page;
}

NodePage NodePageParameters(const ApiRequest& request, FieldErrors* errors) {
  NodePage page;
  page.after = request.Parameter("after").value_or("");
  if (!page.after.empty() && !IsId(IdPrefix::kNode, page.after)) {
    errors->Add("after", "must be an id of the form smi-…");
  }
  if (request.Parameter("limit")) page.limit = LimitParameter(request, 1, errors);
  return page;
}

ApiService::ApiService(ControllerState* state, const ApiOptions& options)
    : state_(state),
      options_(options),
      rate_limit_(options.calls_per_minute, kRateWindow),
      node_texts_([](const NodeRecord& node) { return Result<Json>(NodeJson(node)); }),
      status_texts_([this](const NodeRecord& node) { return NodeStatusJson(node); }) {}

const std::vector<ApiService::Route>& ApiService::Routes() {
  // Literals before '*': the first that fits is taken.
  static const std::vector<Route> routes = {
      {"POST", "aws/ec2/applicationPersistency/config", &ApiService::CreateConfig, true},
      {"GET", "aws/ec2/applicationPersistency/config", &ApiService::ListConfigs, false},
      {"GET", "aws/ec2/applicationPersistency/config/*", &ApiService::GetConfig, false},
      {"PUT", "aws/ec2/applicationPersistency/config/*", &ApiService::UpdateConfig, true},
      {"DELETE", "aws/ec2/applicationPersistency/config/*", &ApiService::DeleteConfig, false},
      {"PUT", "aws/ec2/managedInstance/state", &ApiService::ChangeStates, true},
      {"POST", "aws/ec2/managedInstance/migration", &ApiService::CreateMigration, true},
      {"POST", "aws/ec2/managedInstance/migration/bulk", &ApiService::CreateMigrations, true},
      {"POST", "aws/ec2/managedInstance/migration/search", &ApiService::SearchMigrations, true},
      {"GET", "aws/ec2/managedInstance/migration/*", &ApiService::GetMigration, false},
      {"POST", "aws/ec2/managedInstance/agent/heartbeat", &ApiService::Heartbeat, true,
       &CallerOfHeartbeat},
      {"POST", "aws/ec2/managedInstance", &ApiService::CreateNode, true},
      {"GET", "aws/ec2/managedInstance", &ApiService::ListNodes, false},
      {"GET", "aws/ec2/managedInstance/status", &ApiService::ListStatus, false},
      {"GET", "aws/ec2/managedInstance/*", &ApiService::GetNode, false},
      {"PUT", "aws/ec2/managedInstance/*", &ApiService::UpdateNode, true},
      {"DELETE", "aws/ec2/managedInstance/*", &ApiService::DeleteNode, true},
      {"GET", "aws/ec2/managedInstance/*/status", &ApiService::GetStatus, false},
      {"GET", "aws/ec2/managedInstance/*/costs", &ApiService::GetCosts, false},
      {"GET", "aws/ec2/managedInstance/*/events", &ApiService::GetEvents, false},
      {"GET", "aws/ec2/managedInstance/*/checkpoints", &ApiService::GetCheckpoints, false},
      {"GET", "aws/ec2/managedInstance/*/agent", &ApiService::GetAgent, false},
      {"GET", "aws/ec2/managedInstance/*/operations", &ApiService::GetOperations, false},
      {"PUT", "aws/ec2/managedInstance/*/pause", &ApiService::PauseNode, false},
      {"PUT", "aws/ec2/managedInstance/*/resume", &ApiService::ResumeNode, false},
      {"PUT", "aws/ec2/managedInstance/*/recycle", &ApiService::RecycleNode, false},
      {"DELETE", "aws/ec2/managedInstance/*/volume/*", &ApiService::DeleteVolume, false},
      {"POST", "aws/ec2/statefulMigrationGroup", &ApiService::CreateGroupMigration, true},
      {"GET", "aws/ec2/statefulMigrationGroup/*", &ApiService::GetGroupMigration, false},
      {"DELETE", "aws/ec2/statefulMigrationGroup/*", &ApiService::CancelGroupMigration, false},
      {"POST", "aws/ec2/statefulMigrationGroup/*/userAction", &ApiService::GroupUserAction, true},
      {"GET", "aws/ec2/group/*/statefulInstance", &ApiService::ListStatefulInstances, false},
      {"PUT", "aws/ec2/group/*/statefulInstance/*/pause", &ApiService::PauseStatefulInstance,
       false},
      {"PUT", "aws/ec2/group/*/statefulInstance/*/resume", &ApiService::ResumeStatefulInstance,
       false},
      {"PUT", "aws/ec2/group/*/statefulInstance/*/recycle", &ApiService::RecycleStatefulInstance,
       false},
      {"PUT", "aws/ec2/group/*/statefulInstance/*/deallocate",
       &ApiService::DeallocateStatefulInstance, false},
      {"DELETE", "aws/ec2/group/*/statefulInstance/*/volume/*", &ApiService::DeleteStatefulVolume,
       false},
  };
  return routes;
}

const ApiService::Route* ApiService::FindRoute(const ApiRequest& request,
                                               std::vector<std::string>* ids) {
  std::string_view path = request.path;
  if (!path.starts_with('/')) return nullptr;
  path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  const auto given = Segments(path);
  for (const Route& route : Routes()) {
    if (request.method != route.method) continue;
    const auto wanted = Segments(route.pattern);
    ids->clear();
    const bool fits = std::equal(given.begin(), given.end(), wanted.begin(), wanted.end(),
                                 [ids](std::string_view mine, std::string_view theirs) {
                                   if (theirs != "*") return mine == theirs;
                                   ids->emplace_back(mine);
                                   return !mine.empty();
                                 });
    if (fits) return &route;
  }
  return nullptr;
}

ApiReply ApiService::Authorize(const ApiRequest& request, std::string* account) {
  const std::string& header = request.authorization;
  if (!header.starts_with(kBearer)) return {.status = 401};
  const auto token = state_->FindToken(std::string_view(header).substr(kBearer.size()));
  if (!token.ok()) {
    if (token.status().Is(StatusCode::kPermissionDenied)) return {.status = 401};
    return FailureReply(token.status(), ErrorCode::kGeneral);
  }
  const auto& accounts = token->accounts;
  if (accounts.empty()) return {.status = 401};
  *account = request.Parameter("accountId").value_or(accounts.front());
  if (std::find(accounts.begin(), accounts.end(), *account) != accounts.end()) return {};
  if (!IsId(IdPrefix::kAccount, *account)) {
    return ApiReply::Error(400, ErrorCode::kQuery, "accountId: must be an id of the form act-…",
                           "accountId");
  }
  return ApiReply::Error(403, ErrorCode::kAccount,
                         fmt::format("the token may not use account {}", *account), "accountId");
}

ApiReply ApiService::ReadBody(const ApiRequest& request, Json* body) {
  if (request.body.find_first_not_of(" \t\r\n") == std::string::npos) return {};
  auto parsed = ParseJson(request.body);
  if (!parsed.ok()) {
    return ApiReply::Error(400, ErrorCode::kBody, "body: " + parsed.status().message());
  }
  *body = *std::move(parsed);
  return {};
}

ApiReply ApiService::Dispatch(const ApiRequest& request, ApiResponse* response) {
  std::string account;
  if (ApiReply refused = Authorize(request, &account); refused.status != 200) return refused;
  std::vector<std::string> ids;
  const Route* route = FindRoute(request, &ids);
  if (route == nullptr) {
    return ApiReply::Error(404, ErrorCode::kRoute,
                           fmt::format("there is no {} {}", request.method, request.path));
  }
  Call call{request, account, std::move(ids), {}};
  std::string caller = account;
  if (route->caller_of != nullptr) {
    if (ApiReply refused = ReadBody(request, &call.body); refused.status != 200) return refused;
    caller += " " + route->caller_of(call.body);
  }
  const RateLimit::Verdict verdict = rate_limit_.Count(
      fmt::format("{} {} {}", caller, route->method, route->pattern), RateLimit::Clock::now());
  if (verdict.limit > 0) {
    response->headers = {{"X-RateLimit-Limit", std::to_string(verdict.limit)},
                         {"X-RateLimit-Remaining", std::to_string(verdict.remaining)},
                         {"X-RateLimit-Reset", std::to_string(verdict.reset_seconds)}};
  }
  if (!verdict.allowed) return {.status = 429, .data = "Rate limit exceeded"};
  if (route->reads_body && route->caller_of == nullptr) {
    if (ApiReply refused = ReadBody(request, &call.body); refused.status != 200) return refused;
  }
  return (this->*route->handler)(call);
}

ApiResponse ApiService::Handle(const ApiRequest& request) {
  ApiResponse response;
  ApiReply reply;
  if (request.body.size() > options_.body_bytes_max) {
    reply = ApiReply::Error(413, ErrorCode::kBody,
                            fmt::format("body: is larger than {} bytes", options_.body_bytes_max));
  } else {
    reply = Dispatch(request, &response);
  }
  response.status = reply.status;
  response.body = EnvelopeText(request, reply);
  return response;
}

ApiResponse ApiService::Refuse(const ApiRequest& request, int status, const std::string& code,
                               const std::string& message) {
  return {status, EnvelopeText(request, ApiReply::Error(status, code, message)), {}};
}

}  // namespace snapstore::spot
