#include "orchestrator/localcloud/imds.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sched.h>

#include <array>
#include <charconv>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "base/bytes.h"
#include "base/file.h"
#include "base/random.h"

namespace snapstore::localcloud {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kAddress = "169.254.169.254";
constexpr int kPort = 80;
constexpr int kTokenSecondsMax = 21600;
constexpr size_t kTokensMax = 1024;
constexpr const char* kTtlHeader = "X-aws-ec2-metadata-token-ttl-seconds";
constexpr const char* kTokenHeader = "X-aws-ec2-metadata-token";

}  // namespace

std::string ImdsAnswer(const ImdsView& view, std::string path) {
  const auto exact = view.entries.find(path);
  if (exact != view.entries.end()) return exact->second;
  while (path.ends_with('/')) path.pop_back();
  path += '/';
  std::set<std::string> names;
  for (auto at = view.entries.lower_bound(path); at != view.entries.end(); ++at) {
    if (!at->first.starts_with(path)) break;
    const std::string rest = at->first.substr(path.size());
    const size_t slash = rest.find('/');
    names.insert(slash == rest.npos ? rest : rest.substr(0, slash + 1));
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : "\n") + name;
  return list;
}

struct ImdsServer::Impl {
  httplib::Server server;
  std::thread thread;
  std::function<ImdsView()> view;
  std::mutex mutex;  // guards tokens
  std::map<std::string, Clock::time_point> tokens;

  void PutToken(const httplib::Request& request, httplib::Response& response);
  void Get(const httplib::Request& request, httplib::Response& response);
  bool HoldsToken(const std::string& token);
};

void ImdsServer::Impl::PutToken(const httplib::Request& request, httplib::Response& response) {
  const std::string text = request.get_header_value(kTtlHeader);
  int seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  // Forwarded requests are refused, so that an open proxy in the instance gives nothing away.
  if (error != std::errc() || end != text.data() + text.size() || seconds < 1 ||
      seconds > kTokenSecondsMax) {
    response.status = 400;
    return;
  }
  if (request.has_header("X-Forwarded-For")) {
    response.status = 403;
    return;
  }
  std::array<uint8_t, 28> random{};
  SecureRandom(random);
  const std::string token = HexEncode(random);
  const std::lock_guard lock(mutex);
  const auto now = Clock::now();
  std::erase_if(tokens, [now](const auto& entry) { return entry.second < now; });
  if (tokens.size() >= kTokensMax) tokens.erase(tokens.begin());
  tokens[token] = now + std::chrono::seconds(seconds);
  response.set_header(kTtlHeader, text);
  response.set_content(token, "text/plain");
}

bool ImdsServer::Impl::HoldsToken(const std::string& token) {
  const std::lock_guard lock(mutex);
  const auto found = tokens.find(token);
  return found != tokens.end() && found->second >= Clock::now();
}

void ImdsServer::Impl::Get(const httplib::Request& request, httplib::Response& response) {
  const ImdsView now = view();
  const std::string token = request.get_header_value(kTokenHeader);
  const bool allowed = token.empty() ? !now.tokens_required : HoldsToken(token);
  if (!allowed) {
    response.status = 401;
    return;
  }
  const std::string answer = ImdsAnswer(now, request.path);
  if (answer.empty()) {
    response.status = 404;
    return;
  }
  response.set_content(answer, "text/plain");
}

Result<std::unique_ptr<ImdsServer>> ImdsServer::Start(pid_t pid, int hop_limit,
                                                      std::function<ImdsView()> view) {
  auto impl = std::make_unique<Impl>();
  impl->view = std::move(view);
  Impl* raw = impl.get();
  impl->server.set_tcp_nodelay(true);
  impl->server.new_task_queue = [] { return new httplib::ThreadPool(2); };
  // The address comes up together with the instance's network, a little later.
  impl->server.set_socket_options([hop_limit](socket_t fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof(yes));
    if (hop_limit > 0) setsockopt(fd, IPPROTO_IP, IP_TTL, &hop_limit, sizeof(hop_limit));
  });
  // Two threads serve: one that keeps a connection must not keep it for long.
  impl->server.set_keep_alive_max_count(1);
  // Before the library waits for a body: curl's PUT says of none how long it is.
  impl->server.set_pre_routing_handler(
      [raw](const httplib::Request& request, httplib::Response& response) {
        if (request.method != "PUT" || request.path != "/latest/api/token") {
          return httplib::Server::HandlerResponse::Unhandled;
        }
        raw->PutToken(request, response);
        return httplib::Server::HandlerResponse::Handled;
      });
  impl->server.Get(".*", [raw](const httplib::Request& request, httplib::Response& response) {
    raw->Get(request, response);
  });
  auto space = OpenFile(fmt::format("/proc/{}/ns/net", pid), O_RDONLY);
  if (!space.ok()) return space.status();
  Status bound;
  std::mutex mutex;
  // A thread enters a namespace for itself alone; its sockets stay there.
  std::thread binder([&] {
    const std::lock_guard lock(mutex);
    if (setns((*space).get(), CLONE_NEWNET) != 0) {
      bound = Status::FromErrno(errno, "enter the instance's network");
    } else if (!raw->server.bind_to_port(kAddress, kPort)) {
      bound = Status::Io("the instance's metadata address cannot be bound");
    }
  });
  binder.join();
  if (!bound.ok()) return bound;
  impl->thread = std::thread([raw] { raw->server.listen_after_bind(); });
  while (!impl->server.is_running()) std::this_thread::yield();
  return std::unique_ptr<ImdsServer>(new ImdsServer(std::move(impl)));
}

ImdsServer::ImdsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ImdsServer::~ImdsServer() {
  impl_->server.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace snapstore::localcloud
