// A query service that answers as a test wants, and keeps what it was asked.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_EC2_QUERY_SERVER_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_EC2_QUERY_SERVER_H_

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "orchestrator/ec2/ec2_client.h"
#include "tests/uploader/http/test_server.h"

namespace snapstore {

struct QueryAnswer {
  int status = 200;
  std::string body = {};
};

inline QueryAnswer Ec2Error(int status, const std::string& code,
                            const std::string& message = "no") {
  return {status, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>" +
                      code + "</Code><Message>" + message +
                      "</Message></Error></Errors><RequestID>req-1</RequestID></Response>"};
}

class QueryServerTest : public testing::Test {
 protected:
  using Form = std::map<std::string, std::string>;

  // Answers in order; the last one again and again.
  void Serve(std::deque<QueryAnswer> answers) {
    answers_ = std::move(answers);
    server_->Post("/", [this](const httplib::Request& request, httplib::Response& out) {
      const std::lock_guard lock(mutex_);
      Form form;
      for (const auto& [name, value] : request.params) form[name] = value;
      forms_.push_back(std::move(form));
      authorizations_.push_back(request.get_header_value("Authorization"));
      const QueryAnswer answer = answers_.front();
      if (answers_.size() > 1) answers_.pop_front();
      out.status = answer.status;
      out.set_content(answer.body, "text/xml");
    });
    server_.Start();
  }

  AwsServiceOptions Options() const {
    AwsServiceOptions options;
    options.service = "ec2";
    options.version = "2016-11-15";
    options.region = "eu-west-1";
    options.endpoint = server_.url();
    options.deadline = std::chrono::milliseconds(3000);
    options.consistency = std::chrono::milliseconds(3000);
    return options;
  }

  std::shared_ptr<AwsCredentialChain> Chain() {
    return std::make_shared<AwsCredentialChain>(
        std::vector<CredentialSource>{{"test",
                                       [this]() -> Result<std::optional<AwsCredentials>> {
                                         AwsCredentials made;
                                         made.access_key_id = "KEY" + std::to_string(++fetched_);
                                         made.secret_access_key = "the-secret";
                                         return std::optional(made);
                                       }}},
        WallNanos);
  }

  Ec2Client& Client() {
    if (client_ == nullptr) client_ = std::make_unique<Ec2Client>(Options(), Chain());
    return *client_;
  }

  TestServer server_;
  std::mutex mutex_;
  std::deque<QueryAnswer> answers_;
  std::vector<Form> forms_;
  std::vector<std::string> authorizations_;
  std::atomic<int> fetched_ = 0;
  std::unique_ptr<Ec2Client> client_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_EC2_QUERY_SERVER_H_
