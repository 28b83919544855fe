#include "orchestrator/localcloud/endpoint.h"

#include <fmt/format.h>
#include <httplib.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <thread>

#include "base/base64.h"
#include "base/log.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/balancers.h"
#include "orchestrator/localcloud/xml_answer.h"

namespace snapstore::localcloud {
namespace {

using httplib::Request;
using httplib::Response;

constexpr size_t kBodyBytesMax = 1 << 20;
constexpr size_t kThreads = 32;  // kept connections hold one each
constexpr time_t kKeepSeconds = 2;
constexpr size_t kKeepRequests = 1000;
constexpr const char* kEc2Version = "2016-11-15";
constexpr const char* kStsVersion = "2011-06-15";

// Told apart by the version that a call names; the first when none fits.
struct QueryService {
  const char* version;
  const char* name;  // in the signature's scope
  const char* name_space;
};
constexpr std::array<QueryService, 4> kServices = {
    {{kEc2Version, "ec2", "http://ec2.amazonaws.com/doc/2016-11-15/"},
     {kStsVersion, "sts", "https://sts.amazonaws.com/doc/2011-06-15/"},
     {kTargetGroupVersion, "elasticloadbalancing",
      "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"},
     {kClassicVersion, "elasticloadbalancing",
      "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/"}}};

const QueryService& ServiceOf(const std::map<std::string, std::string>& form) {
  const auto version = form.find("Version");
  for (const QueryService& service : kServices) {
    if (version != form.end() && version->second == service.version) return service;
  }
  return kServices[0];
}

std::string RequestId() {
  std::array<uint8_t, 16> random{};
  SecureRandom(random);
  const std::string hex = HexEncode(random);
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20));
}

// "a=1&b=2" decoded; a name that comes twice keeps its last value.
std::map<std::string, std::string> ParseForm(const std::string& text) {
  const auto decode = [](std::string part) {
    std::replace(part.begin(), part.end(), '+', ' ');
    const Result<std::string> decoded = PercentDecode(part);
    return decoded.ok() ? decoded.value() : part;
  };
  std::map<std::string, std::string> form;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('&', at), text.size());
    const std::string pair = text.substr(at, end - at);
    const size_t equals = std::min(pair.find('='), pair.size());
    if (!pair.empty()) {
      form[decode(pair.substr(0, equals))] =
          equals == pair.size() ? std::string() : decode(pair.substr(equals + 1));
    }
    at = end + 1;
  }
  return form;
}

std::string QueryPart(const Request& request) {
  const size_t mark = request.target.find('?');
  return mark == std::string::npos ? std::string() : request.target.substr(mark + 1);
}

SignedRequest Signed(const Request& request) {
  SignedRequest out{.method = request.method,
                    .path = request.target.substr(0, request.target.find('?')),
                    .body = request.body};
  for (const auto& [name, value] : ParseForm(QueryPart(request))) {
    out.query.emplace_back(name, value);
  }
  for (const auto& [name, value] : request.headers) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    out.headers.push_back({std::move(lower), value});
  }
  return out;
}

std::string PeerOf(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof(peer);
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  auto* address = reinterpret_cast<sockaddr*>(&peer);
  if (getpeername(fd, address, &size) != 0 ||
      getnameinfo(address, size, host.data(), host.size(), port.data(), port.size(),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "";
  }
  return fmt::format("{} {}", host.data(), port.data());
}

// Ends the connection of a request. The library tells no handler its socket: it is found by who is
// at its other end.
void Drop(const Request& request) {
  const std::string peer = fmt::format("{} {}", request.remote_addr, request.remote_port);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string name = entry.path().filename();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    if (PeerOf(fd) == peer) shutdown(fd, SHUT_RDWR);
  }
}

}  // namespace

struct Endpoint::Impl {
  Cloud* cloud = nullptr;
  std::string admin_token;
  std::function<void()> stop;
  httplib::Server server;
  std::thread thread;
  int port = 0;

  void Query(const Request& request, Response& response);
  void Blocks(const Request& request, Response& response);
  void Block(const Request& request, Response& response);
  void HostedZones(const char* action, const Request& request, Response& response);
  void Admin(const Request& request, Response& response);
  ApiResult<std::string> Answer(const Request& request,
                                const std::map<std::string, std::string>& form,
                                const QueryService& service, const std::string& request_id);
  void AddRoutes();
};

ApiResult<std::string> Endpoint::Impl::Answer(const Request& request,
                                              const std::map<std::string, std::string>& form,
                                              const QueryService& service,
                                              const std::string& request_id) {
  SNAP_ASSIGN_OR_RETURN(const std::string arn,
                        Authenticate(Signed(request), cloud->keys(), cloud->facts().account,
                                     {std::string(service.name)}));
  const Parameters parameters(form);
  SNAP_ASSIGN_OR_RETURN(const std::string action, parameters.Required("Action"));
  const std::string version = parameters.Text("Version");
  if (version != service.version) {
    return InvalidValue(fmt::format("Version {} is not one that is served", version));
  }
  Json answer;
  if (version == kStsVersion) {
    if (action != "GetCallerIdentity") {
      return ApiError{"InvalidAction", fmt::format("Could not find operation {}", action)};
    }
    API_RETURN_IF_ERROR(parameters.Check({}));
    answer = {
        {"Arn", arn}, {"UserId", "AIDALOCALCLOUD0000000"}, {"Account", cloud->facts().account}};
  } else {
    SNAP_ASSIGN_OR_RETURN(answer, cloud->Query(version, action, parameters));
  }
  if (version == kEc2Version) return Ec2Answer(action, request_id, answer);
  return ServiceAnswer(service.name_space, action, request_id, answer);
}

void Endpoint::Impl::Query(const Request& request, Response& response) {
  std::map<std::string, std::string> form = ParseForm(QueryPart(request));
  form.merge(ParseForm(request.body));
  const QueryService& service = ServiceOf(form);
  const std::string id = RequestId();
  ApiResult<std::string> answer = Answer(request, form, service, id);
  if (answer.ok()) {
    response.set_content(*answer, "text/xml;charset=UTF-8");
    return;
  }
  const ApiError& error = answer.status();
  if (error.code == kAnswerLost) return Drop(request);
  LogDebug("{}: {}: {}", form["Action"], error.code, error.message);
  response.status = error.http_status;
  response.set_content(
      &service == &kServices[0] ? Ec2ErrorAnswer(error, id) : ServiceErrorAnswer(error, id),
      "text/xml;charset=UTF-8");
}

namespace {

void RefuseRest(const ApiError& error, Response* response) {
  response->status = error.http_status;
  response->set_header("x-amzn-ErrorType", error.code);
  response->set_content(Json{{"Message", error.message}}.dump(), "application/json");
}

}  // namespace

void Endpoint::Impl::Blocks(const Request& request, Response& response) {
  response.set_header("x-amzn-RequestId", RequestId());
  const auto caller = Authenticate(Signed(request), cloud->keys(), cloud->facts().account, {"ebs"});
  if (!caller.ok()) return RefuseRest(caller.status(), &response);
  const Parameters query(ParseForm(QueryPart(request)));
  const bool changed = request.matches[2] == "changedblocks";
  if (changed && !query.Has("firstSnapshotId")) {
    return RefuseRest(
        {"ValidationException", "firstSnapshotId: without it ListSnapshotBlocks lists all blocks"},
        &response);
  }
  auto answer = cloud->ListBlocks(query.Text("firstSnapshotId"), request.matches[1], query);
  if (!answer.ok()) return RefuseRest(answer.status(), &response);
  response.set_content(answer->dump(), "application/json");
}

void Endpoint::Impl::Block(const Request& request, Response& response) {
  response.set_header("x-amzn-RequestId", RequestId());
  const auto caller = Authenticate(Signed(request), cloud->keys(), cloud->facts().account, {"ebs"});
  if (!caller.ok()) return RefuseRest(caller.status(), &response);
  const Parameters query(ParseForm(QueryPart(request)));
  if (auto unknown = query.Check({"blockToken"}); !unknown.ok()) {
    return RefuseRest(unknown, &response);
  }
  auto bytes = cloud->ReadBlock(request.matches[1], request.matches[2], query.Text("blockToken"));
  if (!bytes.ok()) return RefuseRest(bytes.status(), &response);
  response.set_header("x-amz-Data-Length", std::to_string(bytes->size()));
  response.set_header("x-amz-Checksum", Base64Encode(Sha256::Of(*bytes).bytes));
  response.set_header("x-amz-Checksum-Algorithm", "SHA256");
  response.set_content(std::string(AsText(*bytes)), "application/octet-stream");
}

void Endpoint::Impl::HostedZones(const char* action, const Request& request, Response& response) {
  const std::string id = RequestId();
  response.set_header("x-amzn-RequestId", id);
  const auto caller =
      Authenticate(Signed(request), cloud->keys(), cloud->facts().account, {"route53"});
  ApiResult<std::string> answer = caller.status();
  if (caller.ok()) {
    answer = cloud->HostedZones({.action = action,
                                 .zone_id = request.matches[1],
                                 .query = Parameters(ParseForm(QueryPart(request))),
                                 .body = request.body});
  }
  if (answer.ok()) {
    response.set_content(*answer, "text/xml");
    return;
  }
  const ApiError& error = answer.status();
  if (error.code == kAnswerLost) return Drop(request);
  response.status = error.http_status;
  response.set_content(ServiceErrorAnswer(error, id), "text/xml");
}

void Endpoint::Impl::Admin(const Request& request, Response& response) {
  const std::string expected = "Bearer " + admin_token;
  const std::string given = request.get_header_value("Authorization");
  const auto reply = [&response](int status, const Json& body) {
    response.status = status;
    response.set_content(body.dump() + "\n", "application/json");
  };
  if (given.size() != expected.size() ||
      CRYPTO_memcmp(given.data(), expected.data(), expected.size()) != 0) {
    return reply(401, {{"message", "bearer token missing or wrong"}});
  }
  const std::string verb = request.matches[1];
  if (verb == "stop") {
    reply(200, Json::object());
    stop();
    return;
  }
  const Json arguments = Json::parse(request.body, nullptr, false);
  if (!arguments.is_object()) return reply(400, {{"message", "the body is no JSON object"}});
  try {
    const Result<Json> done = cloud->Admin(verb, arguments);
    if (done.ok()) return reply(200, done.value());
    reply(400, {{"message", done.status().message()}});
  } catch (const Json::exception& error) {  // a member of another type
    reply(400, {{"message", error.what()}});
  }
}

void Endpoint::Impl::AddRoutes() {
  const auto handle = [this](void (Impl::*member)(const Request&, Response&)) {
    return [this, member](const Request& request, Response& response) {
      (this->*member)(request, response);
    };
  };
  server.Post("/", handle(&Impl::Query));
  server.Get("/", handle(&Impl::Query));
  server.Get(R"(/snapshots/([^/]+)/(blocks|changedblocks))", handle(&Impl::Blocks));
  server.Get(R"(/snapshots/([^/]+)/blocks/([0-9]+))", handle(&Impl::Block));
  server.Post(R"(/_admin/([a-z]+))", handle(&Impl::Admin));
  const auto zones = [this](const char* action) {
    return [this, action](const Request& request, Response& response) {
      HostedZones(action, request, response);
    };
  };
  server.Post(R"(/2013-04-01/hostedzone())", zones("CreateHostedZone"));
  server.Get(R"(/2013-04-01/hostedzone())", zones("ListHostedZones"));
  server.Delete(R"(/2013-04-01/hostedzone/([^/]+))", zones("DeleteHostedZone"));
  server.Post(R"(/2013-04-01/hostedzone/([^/]+)/rrset/?)", zones("ChangeResourceRecordSets"));
  server.Get(R"(/2013-04-01/hostedzone/([^/]+)/rrset)", zones("ListResourceRecordSets"));
}

Endpoint::Endpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Endpoint::~Endpoint() {
  impl_->server.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

int Endpoint::port() const { return impl_->port; }

Result<std::unique_ptr<Endpoint>> Endpoint::Start(Cloud* cloud, const std::string& host, int port,
                                                  std::string admin_token,
                                                  std::function<void()> stop) {
  auto impl = std::make_unique<Impl>();
  impl->cloud = cloud;
  impl->admin_token = std::move(admin_token);
  impl->stop = std::move(stop);
  httplib::Server& server = impl->server;
  server.set_payload_max_length(kBodyBytesMax);
  // Head and body go out one after the other: the second is not to wait for the first's receipt.
  server.set_tcp_nodelay(true);
  // Stopping waits for connections that are kept.
  server.set_keep_alive_timeout(kKeepSeconds);
  server.set_keep_alive_max_count(kKeepRequests);
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  // The library's default lets a second server take the same port unnoticed.
  server.set_socket_options([](socket_t fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  impl->AddRoutes();
  if (port == 0) {
    impl->port = server.bind_to_any_port(host);
  } else {
    impl->port = server.bind_to_port(host, port) ? port : -1;
  }
  if (impl->port < 0) {
    return Status::Io(fmt::format("listen on {}:{}: address not available or in use", host, port));
  }
  impl->thread = std::thread([raw = impl.get()] { raw->server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<Endpoint>(new Endpoint(std::move(impl)));
}

}  // namespace snapstore::localcloud
