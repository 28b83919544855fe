#include <chrono>
#include <thread>

#include "orchestrator/localcloud/cloud.h"
#include "tools/snapstore_localcloud/command.h"
#include "tools/snapstore_localcloud/running_cloud.h"

namespace snapstore::localcloud {
namespace {

constexpr int kStopAttempts = 300;
constexpr std::chrono::milliseconds kStopWait{50};

class DestroyCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override { AddFolderOption(app, &folder_); }

  Outcome Run(const GlobalOptions&) override {
    const std::string folder = FolderPath(folder_);
    // A server that runs has the records open; one that does not cannot be asked, and need not.
    (void)AskCloud(folder, "stop", nlohmann::json::object());
    Status destroyed;
    for (int attempt = 0; attempt < kStopAttempts; ++attempt) {
      destroyed = Cloud::Destroy(folder);
      if (!destroyed.Is(StatusCode::kConflict)) break;
      std::this_thread::sleep_for(kStopWait);
    }
    return Outcome::Of(destroyed);
  }

 private:
  std::string folder_;
};

}  // namespace

const CommandInfo kDestroyCommand{
    "destroy", "Stop the server, end all instances and remove everything the cloud made.",
    R"(  snapstore-localcloud destroy --state-dir /var/lib/snapstore-localcloud

Also after the server was killed. Only what this cloud made is touched.)",
    [] { return std::unique_ptr<Command>(new DestroyCommand()); }};

}  // namespace snapstore::localcloud
