// AwsCaller: signed requests to one AWS service, tried again as long as that makes sense.
//
// Two protocols: "query" (a form is posted, XML comes back) and REST. Requests are tried
// again, until a deadline, when the service asks for less, when it has an internal error, and when
// the answer was lost; the last only if doing it twice does no harm. Expired credentials are
// fetched anew once, a clock that is wrong is put right once.
// Source: "Query requests for Amazon EC2", Amazon EC2 API Reference.
//
// Eventual consistency: an id that this caller was just given (Remember) may not be known yet to
// whichever server answers next. "….NotFound" about such an id is tried again for a bounded time.
// Source: "Eventual consistency in the Amazon EC2 API", Amazon EC2 Developer Guide.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_AWS_CALLER_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_AWS_CALLER_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "orchestrator/ec2/aws_error.h"
#include "uploader/aws/credentials.h"
#include "uploader/http/http_client.h"
#include "uploader/retry.h"

namespace pugi {
class xml_document;
}

namespace snapstore {

struct AwsServiceOptions {
  std::string service = {};  // "ec2": in the signature's scope
  std::string version = {};  // of the query protocol: "2016-11-15"
  std::string region = {};
  std::string endpoint = {};                      // "https://ec2.eu-west-1.amazonaws.com"
  std::string ca_file = {};                       // PEM; empty: the system's
  std::chrono::milliseconds deadline{60'000};     // of one call with all its attempts
  std::chrono::milliseconds consistency{30'000};  // how long a new id may be unknown
  std::function<bool()> cancelled = nullptr;
};

// `service` as in host names, in upper case for its variable: "EC2" reads AWS_ENDPOINT_URL_EC2.
// InvalidArgument when no region is set or the endpoint is no URL.
Result<AwsServiceOptions> MakeAwsServiceOptions(const std::string& service,
                                                const AwsEnvironment& environment);

class AwsCaller {
 public:
  // Whether the same request may be sent again when it is not known what became of it.
  enum class Repeat { kSafe, kUnsafe };

  AwsCaller(AwsServiceOptions options, std::shared_ptr<AwsCredentialChain> credentials);

  // Posts the form Action=`action`&Version=…&`parameters`; the answer's document.
  Ec2Result<std::shared_ptr<pugi::xml_document>> Query(const std::string& action,
                                                       QueryParameters parameters, Repeat repeat);
  // GET `path` (percent-encoded) with `query`; the whole answer, at most `body_max` bytes of it.
  Ec2Result<HttpResponse> Get(const std::string& path, const QueryParameters& query,
                              size_t body_max);
  // POST `xml` to `path` (percent-encoded); the answer's document.
  Ec2Result<std::shared_ptr<pugi::xml_document>> PostXml(const std::string& path,
                                                         const std::string& xml, Repeat repeat);

  // `id` was just given out.
  void Remember(const std::string& id);

  const AwsServiceOptions& options() const { return options_; }

 private:
  struct Call {
    std::string what;  // for people
    std::string method;
    std::string path;
    QueryParameters query;
    std::string body;
    const char* content_type = nullptr;  // of a POST
    size_t body_max = 0;
    Repeat repeat = Repeat::kSafe;
    const QueryParameters* parameters = nullptr;  // that may hold new ids; may be null
  };
  struct Mended {
    bool credentials = false;
    bool clock = false;
  };

  Ec2Result<HttpResponse> Send(const Call& call);
  Ec2Result<HttpResponse> Attempt(const Call& call, Mended* mended, bool* at_once);
  bool MayRepeat(const Call& call, const AwsFailure& failure);
  bool NamesNewId(const QueryParameters& parameters);

  const AwsServiceOptions options_;
  const Url endpoint_;
  const std::shared_ptr<AwsCredentialChain> credentials_;
  HttpClient http_;
  const RetryPolicy retry_;
  std::atomic<int64_t> clock_offset_ns_{0};  // server minus local
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> new_ids_;  // guarded by mutex_
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_AWS_CALLER_H_
