// ApiClient: calls the Spot API of a running controller.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_API_CLIENT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_API_CLIENT_H_

#include <CLI/CLI.hpp>
#include <string>

#include "orchestrator/model/json.h"
#include "snapstore/status.h"

namespace snapstore::spot {

class ApiClient {
 public:
  // --url, --token-file and --account; else SPOTINST_TOKEN and SPOTINST_ACCOUNT as the official
  // clients have them.
  void AddOptions(CLI::App* app);

  // The answer's items; null when it has none. An error of the API is one here.
  Result<Json> Call(const std::string& method, const std::string& path,
                    const std::string& query = "") const;

 private:
  Result<std::string> Token() const;

  std::string url_ = "http://127.0.0.1:8080";
  std::string token_file_;
  std::string account_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_API_CLIENT_H_
