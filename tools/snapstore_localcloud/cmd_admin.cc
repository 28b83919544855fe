#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/snapstore_localcloud/command.h"
#include "tools/snapstore_localcloud/running_cloud.h"

namespace snapstore::localcloud {
namespace {

class AdminCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    AddFolderOption(app, &folder_);
    app->require_subcommand(1);
    AddMarkets(app);
    AddInterruptions(app);
    AddFailures(app);
  }

  Outcome Run(const GlobalOptions& globals) override {
    const auto done = AskCloud(FolderPath(folder_), verb_, arguments_);
    if (!done.ok()) return Outcome::Of(done.status());
    if (globals.json) fmt::print("{}\n", done.value().dump());
    return Outcome::Done();
  }

 private:
  CLI::App* Verb(CLI::App* parent, const char* verb, const char* description) {
    CLI::App* app = parent->add_subcommand(verb, description);
    app->fallthrough();
    return app;
  }

  template <typename T>
  CLI::Option* Argument(CLI::App* app, const char* option, const char* name, const char* help) {
    return app->add_option_function<T>(
        option, [this, name](const T& value) { arguments_[name] = value; }, help);
  }

  void AddMarkets(CLI::App* app) {
    CLI::App* capacity = Verb(app, "capacity", "How many instances a market takes");
    CLI::App* price = Verb(app, "price", "What a spot market costs");
    for (CLI::App* market : {capacity, price}) {
      Argument<std::string>(market, "--type", "type", "Instance type")->required();
      Argument<std::string>(market, "--zone", "zone", "Availability zone")->required();
    }
    Argument<int64_t>(capacity, "--count", "count", "Instances; -1: any number")->required();
    capacity->add_flag_callback(
        "--on-demand", [this] { arguments_["on_demand"] = true; }, "Not of the spot market");
    Argument<double>(price, "--usd", "usd",
                     "USD an hour; instances with a lower maximum are interrupted")
        ->required();
    capacity->callback([this] { verb_ = "capacity"; });
    price->callback([this] { verb_ = "price"; });
  }

  void AddInterruptions(CLI::App* app) {
    CLI::App* interrupt = Verb(app, "interrupt", "Interrupt a spot instance");
    Argument<std::string>(interrupt, "instance", "instance", "Instance id")->required();
    Argument<double>(interrupt, "--seconds", "seconds", "From the notice to the end; else 120");
    interrupt->add_flag_callback(
        "--no-notice", [this] { arguments_["notice"] = false; }, "At once, unless --seconds says");
    interrupt->callback([this] { verb_ = "interrupt"; });
    CLI::App* rebalance = Verb(app, "rebalance", "Recommend to move away from an instance");
    Argument<std::string>(rebalance, "instance", "instance", "Instance id")->required();
    rebalance->callback([this] { verb_ = "rebalance"; });
  }

  void AddFailures(CLI::App* app) {
    CLI::App* fail = Verb(app, "fail", "Have something fail");
    fail->require_subcommand(1);
    const auto what = [this](const char* name) {
      return [this, name] {
        verb_ = "fail";
        arguments_["what"] = name;
      };
    };
    CLI::App* instance = Verb(fail, "instance", "An instance's machine loses power");
    Argument<std::string>(instance, "instance", "instance", "Instance id")->required();
    instance->callback(what("instance"));
    CLI::App* status = Verb(fail, "status", "An instance's status checks fail");
    Argument<std::string>(status, "instance", "instance", "Instance id")->required();
    status->add_flag_callback(
        "--ok", [this] { arguments_["ok"] = true; }, "They pass again");
    status->callback(what("status"));
    CLI::App* api = Verb(fail, "api", "The next calls of an action fail");
    Argument<std::string>(api, "--action", "action", "\"RunInstances\"; * for all")->required();
    CLI::Option* code = Argument<std::string>(api, "--code", "code", "\"RequestLimitExceeded\"");
    CLI::Option* lost = api->add_flag_callback(
        "--lost", [this] { arguments_["lost"] = true; },
        "They take effect, and the connection ends without an answer");
    lost->excludes(code);
    Argument<std::string>(api, "--message", "message", "The error's text");
    Argument<int>(api, "--http", "http", "Its HTTP status; else 500");
    Argument<int>(api, "--count", "count", "How many calls; else 1");
    api->callback(what("api"));
    CLI::App* delay = Verb(app, "delay", "The next calls of an action take their time");
    Argument<std::string>(delay, "--action", "action", "\"RunInstances\"; * for all")->required();
    Argument<double>(delay, "--seconds", "seconds", "Before they take effect")->required();
    Argument<int>(delay, "--count", "count", "How many calls; else 1");
    delay->callback([this] { verb_ = "delay"; });
  }

  std::string folder_;
  std::string verb_;
  nlohmann::json arguments_ = nlohmann::json::object();
};

}  // namespace

const CommandInfo kAdminCommand{
    "admin", "Drive capacity, prices, interruptions and failures.",
    R"(  snapstore-localcloud admin interrupt i-0123456789abcdef0 --seconds 10
  snapstore-localcloud admin interrupt i-0123456789abcdef0 --no-notice
  snapstore-localcloud admin capacity --type m5.large --zone us-east-1a --count 0
  snapstore-localcloud admin price --type m5.large --zone us-east-1a --usd 0.2
  snapstore-localcloud admin fail api --action RunInstances --code InsufficientInstanceCapacity
  snapstore-localcloud admin fail api --action RunInstances --lost
  snapstore-localcloud admin delay --action DescribeInstances --seconds 3
  snapstore-localcloud admin fail instance i-0123456789abcdef0)",
    [] { return std::unique_ptr<Command>(new AdminCommand()); }};

}  // namespace snapstore::localcloud
