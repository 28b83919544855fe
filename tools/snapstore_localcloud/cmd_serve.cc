#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/listen_address.h"
#include "base/log.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "base/storage_names.h"
#include "orchestrator/localcloud/endpoint.h"
#include "tools/snapstore_localcloud/command.h"
#include "tools/snapstore_localcloud/running_cloud.h"

namespace snapstore::localcloud {
namespace {

class ServeCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("--listen", listen_, "Address of the endpoint; port 0: any")
        ->type_name("ADDR:PORT")
        ->capture_default_str();
    app->add_option("--region", region_, "Region that a new cloud is in")
        ->type_name("NAME")
        ->capture_default_str();
    app->add_option(
           "--file-system", file_systems_,
           "A folder of this machine that instances have at /mnt/efs/fs-ID; kept for later "
           "runs. Repeatable")
        ->type_name("fs-ID=DIR");
    AddFolderOption(app, &folder_);
  }

  Outcome Run(const GlobalOptions& globals) override {
    const Result<ListenAddress> address = ListenAddress::Parse(listen_);
    if (!address.ok()) return Outcome::Of(address.status().WithContext("--listen"));
    if (globals.quiet) SetLogLevel(LogLevel::kWarning);
    // Waited for below; threads inherit the mask.
    sigset_t stop;
    sigemptyset(&stop);
    for (const int number : {SIGTERM, SIGINT}) sigaddset(&stop, number);
    pthread_sigmask(SIG_BLOCK, &stop, nullptr);
    std::error_code error;
    CloudOptions options;
    options.folder = FolderPath(folder_);
    options.region = region_;
    for (const std::string& text : file_systems_) {
      const Status added = AddFileSystem(text, &options);
      if (!added.ok()) return Outcome::Of(added);
    }
    options.program = std::filesystem::read_symlink("/proc/self/exe", error);
    auto cloud = Cloud::Open(options);
    if (!cloud.ok()) return Outcome::Of(cloud.status());
    Outcome outcome = Serve(cloud.value().get(), address.value(), options.folder, globals);
    cloud.value()->StopServingInstances();
    return outcome;
  }

 private:
  static Status AddFileSystem(const std::string& text, CloudOptions* options) {
    const size_t equal = text.find('=');
    const std::string id = text.substr(0, equal);
    if (equal == std::string::npos || !IsEfsId(id)) {
      return Status::InvalidArgument(
          fmt::format("--file-system {}: must be fs-0123abcd=/folder", text));
    }
    std::error_code error;
    const auto folder = std::filesystem::canonical(text.substr(equal + 1), error);
    if (error || !std::filesystem::is_directory(folder)) {
      return Status::InvalidArgument(
          fmt::format("--file-system {}: {} is no folder", text, text.substr(equal + 1)));
    }
    // Instances would see what is hidden from them: records and keys.
    const auto cloud = std::filesystem::weakly_canonical(options->folder, error);
    if (*cloud.lexically_relative(folder).begin() != "..") {
      return Status::InvalidArgument(
          fmt::format("--file-system {}: the cloud's own folder is in {}", text, folder.string()));
    }
    options->file_systems[id] = folder;
    return Status::Ok();
  }

  static Outcome Serve(Cloud* cloud, const ListenAddress& address, const std::string& folder,
                       const GlobalOptions& globals) {
    std::array<uint8_t, 20> random{};
    SecureRandom(random);
    const std::string token = HexEncode(random);
    HideInLogs(token);
    const pid_t self = getpid();
    auto endpoint =
        Endpoint::Start(cloud, address.host, address.port, token, [self] { kill(self, SIGTERM); });
    if (!endpoint.ok()) return Outcome::Of(endpoint.status());
    const int port = endpoint.value()->port();
    const std::string host = address.host == "0.0.0.0" ? "127.0.0.1" : address.host;
    const std::string url = fmt::format("http://{}:{}", host, port);
    const nlohmann::json content = {
        {"endpoint", url},
        {"instance_endpoint", fmt::format("http://{}:{}", cloud->HostAddress(), port)},
        {"region", cloud->facts().region},
        {"access_key_id", cloud->keys().access_key_id},
        {"secret_access_key", cloud->keys().secret_access_key},
        {"image_id", cloud->facts().base_image_id},
        {"vpc_id", cloud->facts().vpc_id},
        {"subnet_ids", cloud->facts().subnet_ids},
        {"security_group_id", cloud->facts().group_id},
        {"cloud_id", cloud->facts().id},
        {"admin_token", token}};
    if (Status written = WriteCloudFile(folder, content); !written.ok()) {
      return Outcome::Of(written);
    }
    LogInfo("cloud {} in {} serves {}", cloud->facts().id, folder, url);
    if (globals.json) {
      fmt::print("{}\n", nlohmann::json{{"message_type", "started"},
                                        {"endpoint", url},
                                        {"cloud_id", cloud->facts().id},
                                        {"image_id", cloud->facts().base_image_id}}
                             .dump());
      std::fflush(stdout);
    }
    sigset_t stop;
    sigemptyset(&stop);
    for (const int number : {SIGTERM, SIGINT}) sigaddset(&stop, number);
    int number = 0;
    sigwait(&stop, &number);
    LogInfo("stops serving; instances go on");
    return Outcome::Done();
  }

  std::vector<std::string> file_systems_;
  std::string listen_ = "127.0.0.1:8000";
  std::string region_ = "us-east-1";
  std::string folder_;
};

}  // namespace

const CommandInfo kServeCommand{
    "serve", "Serve a cloud, a new one or the one that is in the folder.",
    R"(  snapstore-localcloud serve --listen 127.0.0.1:8000 --state-dir /var/lib/snapstore-localcloud
  snapstore-localcloud serve --listen 0.0.0.0:8000     # instances can call it, too

SIGTERM and SIGINT stop the server, not the instances: the next server finds them. 'destroy' removes
everything.)",
    [] { return std::unique_ptr<Command>(new ServeCommand()); }};

}  // namespace snapstore::localcloud
