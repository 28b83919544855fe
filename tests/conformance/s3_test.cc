// The conformance suite on a real S3 server: the one that SNAPSTORE_TEST_S3 describes, a file of
// NAME=VALUE lines as the programs in tests/servers/ write it.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>

#include "base/check.h"
#include "base/clock.h"
#include "tests/conformance/store_conformance.h"
#include "uploader/aws/environment.h"
#include "uploader/s3_store.h"

namespace snapstore {
namespace {

constexpr const char* kBucket = "conformance";

// A variable of the server; empty when it has none of that name.
std::string ServerVariable(const std::string& name) {
  static const std::map<std::string, std::string> variables = [] {
    const char* const path = std::getenv("SNAPSTORE_TEST_S3");
    SNAP_CHECK(path != nullptr);
    std::map<std::string, std::string> read;
    std::ifstream lines(path);
    for (std::string line; std::getline(lines, line);) {
      const size_t equals = line.find('=');
      read[line.substr(0, equals)] = line.substr(equals + 1);
    }
    return read;
  }();
  const auto it = variables.find(name);
  return it == variables.end() ? std::string() : it->second;
}

std::shared_ptr<const AwsEnvironment> ServerEnvironment() {
  static const std::shared_ptr<const AwsEnvironment> environment = [] {
    Result<AwsEnvironment> loaded = AwsEnvironment::Load(ServerVariable);
    SNAP_CHECK(loaded.ok());
    return std::make_shared<const AwsEnvironment>(std::move(*loaded));
  }();
  return environment;
}

// The bucket of the options; it may be there.
void MakeBucket(const S3Options& options) {
  S3Client client(options, DefaultCredentialChain(ServerEnvironment()), nullptr);
  SNAP_CHECK(client.Call({.method = "PUT"}).ok());
}

class S3Place final : public StorePlace {
 public:
  S3Place() {
    static std::atomic<int> places = 0;
    options_.bucket = kBucket;
    options_.prefix = fmt::format("{}-{}-{}/", ::getpid(), WallNanos(), ++places);
    options_.endpoint = ServerEnvironment()->Endpoint("S3");
    MakeBucket(options_);
  }

  ~S3Place() override {
    const Result<std::shared_ptr<ObjectStore>> store = Open();
    std::vector<std::string> keys;
    const Status listed = (*store)->List("", [&](const ObjectInfo& info) {
      keys.push_back(info.key);
      return Status();
    });
    EXPECT_TRUE(listed.ok()) << listed.ToString();
    for (const std::string& key : keys) EXPECT_TRUE((*store)->Delete(ObjectKey(key)).ok());
  }

  Result<std::shared_ptr<ObjectStore>> Open() override {
    Result<std::unique_ptr<S3Store>> store =
        S3Store::Open(options_, DefaultCredentialChain(ServerEnvironment()));
    if (!store.ok()) return store.status();
    return std::shared_ptr<ObjectStore>(std::move(*store));
  }

  bool SharedBetweenProcesses() const override { return true; }
  bool PutsAreAtomic() const override {
    return ServerVariable("SNAPSTORE_TEST_S3_CONDITIONS") != "none";
  }
  size_t ManyObjects() const override {
    const std::string page = ServerVariable("SNAPSTORE_TEST_S3_PAGE");
    return page.empty() ? StorePlace::ManyObjects() : 5 * std::stoul(page);
  }

 private:
  S3Options options_;
};

TEST(S3Server, LosesUploadsThatNobodyFinished) {
  S3Place place;
  Result<std::shared_ptr<ObjectStore>> opened = place.Open();
  ASSERT_TRUE(opened.ok());
  auto& store = static_cast<S3Store&>(**opened);
  S3Client& client = store.client();
  const std::string key = client.options().prefix + "data/left/behind";
  for (int n = 0; n < 3; ++n) {
    const Result<S3Answer> begun =
        client.Call({.method = "POST", .key = key, .query = {{"uploads", ""}}});
    ASSERT_TRUE(begun.ok() && !begun->error.has_value());
  }
  EXPECT_EQ(*store.AbortUploads(std::chrono::hours(1)), 0u) << "too young";
  EXPECT_EQ(*store.AbortUploads(std::chrono::seconds(0)), 3u);
  EXPECT_EQ(*store.AbortUploads(std::chrono::seconds(0)), 0u);
}

// Where names of buckets are part of the host's, and below a path that needs quoting throughout.
TEST(S3Server, IsReachedInEitherStyleAndBelowAnyPath) {
  const std::string endpoint = ServerEnvironment()->Endpoint("S3");
  const std::string port = endpoint.substr(endpoint.rfind(':'));
  S3Options options;
  options.bucket = kBucket;
  options.prefix = fmt::format("odd {}/grö\u00dfe 100%+&=?#'\"<a>;/..//x", WallNanos());
  options.endpoint = endpoint;
  options.region = ServerEnvironment()->Region();
  MakeBucket(options);
  for (const bool virtual_style : {false, true}) {
    if (virtual_style) {
      // Only servers that were told so know a host name.
      if (ServerVariable("SNAPSTORE_TEST_S3_CONDITIONS") == "none") continue;
      options.endpoint = "http://s3.localhost" + port;
      options.addressing = S3Addressing::kVirtual;
    }
    Result<std::unique_ptr<S3Store>> store =
        S3Store::Open(options, DefaultCredentialChain(ServerEnvironment()));
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    const ObjectKey key(virtual_style ? "data/virtual" : "data/path");
    const ByteSpan bytes = AsBytes("content");
    const Result<PutOutcome> put = (*store)->PutIfAbsent(key, {&bytes, 1});
    ASSERT_TRUE(put.ok()) << put.status().ToString();
    EXPECT_EQ(AsText(*(*store)->Get(key, 100)), "content");
    std::vector<std::string> keys;
    EXPECT_TRUE((*store)
                    ->List("data/",
                           [&](const ObjectInfo& info) {
                             keys.push_back(info.key);
                             return Status();
                           })
                    .ok());
    EXPECT_EQ(keys, std::vector<std::string>{key.text()});
    EXPECT_TRUE((*store)->DeleteMany({&key, 1}).ok());
    EXPECT_TRUE((*store)->Stat(key).status().Is(StatusCode::kNotFound));
  }
}

INSTANTIATE_TEST_SUITE_P(S3, StoreConformance,
                         testing::Values(StoreUnderTest{
                             "S3", [] { return std::make_unique<S3Place>(); }}),
                         [](const auto& suite) { return suite.param.name; });

}  // namespace
}  // namespace snapstore
