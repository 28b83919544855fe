// A served API over a real store, called over HTTP on loopback.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_API_API_FIXTURE_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_API_API_FIXTURE_H_

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>

#include "orchestrator/api/api_server.h"
#include "orchestrator/state/operation_journal.h"
#include "orchestrator/state/rocks_state_store.h"
#include "tests/base/temp_folder.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {

class ApiTest : public ::testing::Test {
 protected:
  static constexpr const char* kNodes = "/aws/ec2/managedInstance";
  static constexpr const char* kConfigs = "/aws/ec2/applicationPersistency/config";

  struct Answer {
    int status = 0;
    Json body;
    httplib::Headers headers;

    const Json& response() const { return body["response"]; }
    const Json& item(size_t i = 0) const { return response()["items"].at(i); }
    // "CODE field: message" of the first error.
    std::string error() const {
      if (!response().contains("errors")) return "";
      const Json& first = response()["errors"].at(0);
      return first.value("code", "") + " " + first.value("field", "") + ": " +
             first.value("message", "");
    }
  };

  void SetUp() override { Serve({}); }
  void TearDown() override {
    server_.reset();
    service_.reset();
    state_.reset();
    store_.reset();
  }

  void Serve(const ApiOptions& options) {
    if (!store_) {
      store_ = *RocksStateStore::Open(folder_.path());
      state_ = std::make_unique<ControllerState>(store_.get());
      token_ = state_->AddToken({"act-1", "act-3"}, "", std::nullopt)->text;
      foreign_token_ = state_->AddToken({"act-2"}, "", std::nullopt)->text;
    }
    server_.reset();
    service_ = std::make_unique<ApiService>(state_.get(), options);
    auto server = ApiServer::Start({"127.0.0.1", 0}, {}, service_.get());
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }

  Answer CallAs(const std::string& token, const std::string& method, const std::string& path,
                const std::string& body = "") {
    httplib::Client client("127.0.0.1", server_->address().port);
    httplib::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.set_header("Content-Type", "application/json");
    if (!token.empty()) request.set_header("Authorization", "Bearer " + token);
    const auto result = client.send(request);
    if (!result) {
      ADD_FAILURE() << method << " " << path << ": " << httplib::to_string(result.error());
      return {0, {{"response", Json::object()}}, {}};
    }
    Answer answer{result->status, Json::parse(result->body, nullptr, false), result->headers};
    EXPECT_TRUE(answer.body.is_object()) << result->body;
    EXPECT_EQ(answer.response()["status"]["code"], result->status);
    return answer;
  }
  Answer Call(const std::string& method, const std::string& path, const std::string& body = "") {
    return CallAs(token_, method, path, body);
  }

  // Of the documented body, with the id put in.
  std::string NewConfig() { return Call("POST", kConfigs, kDocumentedConfig).item()["id"]; }
  static std::string NodeBody(const std::string& config) {
    Json body = Parsed(kDocumentedNode);
    body["managedInstance"]["persistence"]["applicationPersistencyConfig"] = {config};
    return body.dump();
  }
  std::string NewNode() {
    const Answer made = Call("POST", kNodes, NodeBody(NewConfig()));
    EXPECT_EQ(made.status, 200) << made.body.dump();
    return made.item()["id"];
  }
  std::string PathOf(const std::string& node, const std::string& rest = "") {
    return fmt::format("{}/{}{}", kNodes, node, rest);
  }
  // What the life-cycle does when it has carried out what was asked for.
  void CarryOut(const std::string& node, NodeState state) {
    const auto record = state_->GetNode("act-1", node);
    ASSERT_TRUE(record.ok() && record->operation_id);
    ASSERT_TRUE(OperationJournal(state_.get())
                    .Finish(*record->operation_id, OperationState::kDone, "",
                            [state](ControllerState::NodeChange* change) {
                              change->node.state = state;
                              return Status::Ok();
                            })
                    .ok());
  }
  OperationKind PendingKind(const std::string& node) {
    const auto record = state_->GetNode("act-1", node);
    return OperationJournal(state_.get()).Get(*record->operation_id)->kind;
  }

  const TempFolder folder_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<ControllerState> state_;
  std::unique_ptr<ApiService> service_;
  std::unique_ptr<ApiServer> server_;
  std::string token_;
  std::string foreign_token_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_API_API_FIXTURE_H_
