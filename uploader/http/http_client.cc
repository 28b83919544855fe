#include "uploader/http/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "uploader/http/url.h"

namespace snapstore {
namespace {

constexpr size_t kErrorBodyMax = 64 << 10;
// Below it a connection counts as stalled: a byte now and then is no answer.
constexpr long kSlowestBytesPerSecond = 128;
constexpr long kBufferBytes = 512 << 10;
constexpr long kConnectionsKept = 64;
constexpr int kPollMillis = 100;

std::string HostOf(const std::string& url) {
  const size_t query = url.find('?');
  const Result<Url> parsed = ParseUrl(url.substr(0, query));
  return parsed.ok() ? parsed->Authority() : "the server";
}

Status FromCurl(CURLcode code, const char* detail, const std::string& url) {
  std::string message =
      HostOf(url) + ": " + (detail[0] != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return Status::Timeout(std::move(message));
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return Status::PermissionDenied(std::move(message));
    case CURLE_UNSUPPORTED_PROTOCOL:
      // What libcurl calls bytes that are no answer, such as the rest of the one before.
      if (message.find("HTTP/0.9") != std::string::npos) return Status::Io(std::move(message));
      [[fallthrough]];
    case CURLE_URL_MALFORMAT:
      return Status::InvalidArgument(std::move(message));
    default:
      return Status::Io(std::move(message));
  }
}

void InitLibrary() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  SNAP_CHECK(code == CURLE_OK);
}

}  // namespace

class HttpClient::Transfer {
 public:
  Transfer(const HttpRequest& request, const HttpClientOptions& options, CURL* easy)
      : request_(request), options_(options), easy_(easy) {
    Set(CURLOPT_URL, request.url.c_str());
    Set(CURLOPT_PROTOCOLS_STR, "http,https");
    // Else "a/../b" in a key would become "b".
    Set(CURLOPT_PATH_AS_IS, 1L);
    Set(CURLOPT_ERRORBUFFER, detail_);
    Set(CURLOPT_PRIVATE, this);
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    Set(CURLOPT_TCP_KEEPALIVE, 1L);
    // libcurl refuses to change them while a look-up of a name that was given up is still going on.
    (void)curl_easy_setopt(easy_, CURLOPT_BUFFERSIZE, kBufferBytes);
    (void)curl_easy_setopt(easy_, CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes);
    Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    Set(CURLOPT_LOW_SPEED_LIMIT, kSlowestBytesPerSecond);
    Set(CURLOPT_LOW_SPEED_TIME,
        std::max(1L, static_cast<long>(options.stall_timeout.count() / 1000)));
    if (!options.use_proxy) Set(CURLOPT_NOPROXY, "*");
    if (!options.ca_file.empty()) Set(CURLOPT_CAINFO, options.ca_file.c_str());
    Set(CURLOPT_HEADERFUNCTION, OnHeader);
    Set(CURLOPT_HEADERDATA, this);
    Set(CURLOPT_WRITEFUNCTION, OnBody);
    Set(CURLOPT_WRITEDATA, this);
    Set(CURLOPT_NOPROGRESS, 0L);
    Set(CURLOPT_XFERINFOFUNCTION, OnProgress);
    Set(CURLOPT_XFERINFODATA, this);
    SetMethod();
    SetHeaders();
  }

  ~Transfer() { curl_slist_free_all(headers_); }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  Result<HttpResponse> Finish(CURLcode code) {
    if (!refused_.ok()) return refused_;
    if (code == CURLE_ABORTED_BY_CALLBACK) return Status::Cancelled("interrupted");
    if (code != CURLE_OK) return FromCurl(code, detail_, request_.url);
    return std::move(response_);
  }

 private:
  template <typename T>
  void Set(CURLoption option, T value) {
    SNAP_CHECK(curl_easy_setopt(easy_, option, value) == CURLE_OK);
  }

  void SetMethod() {
    for (const ByteSpan part : request_.body) body_bytes_ += part.size();
    if (request_.method == "HEAD") {
      Set(CURLOPT_NOBODY, 1L);
    } else if (request_.method == "PUT" || request_.method == "POST") {
      // UPLOAD sends the body through the callbacks for POST as well, and sets the length.
      Set(CURLOPT_UPLOAD, 1L);
      Set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(body_bytes_));
      Set(CURLOPT_READFUNCTION, OnSend);
      Set(CURLOPT_READDATA, this);
      Set(CURLOPT_SEEKFUNCTION, OnSeek);
      Set(CURLOPT_SEEKDATA, this);
    }
    if (request_.method != "HEAD") Set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }

  void SetHeaders() {
    for (const HttpHeader& header : request_.headers) {
      // A header without a value is written with a semicolon, else libcurl leaves it out.
      const std::string line =
          header.value.empty() ? header.name + ";" : header.name + ": " + header.value;
      headers_ = curl_slist_append(headers_, line.c_str());
    }
    Set(CURLOPT_HTTPHEADER, headers_);
  }

  static size_t OnHeader(const char* data, size_t size, size_t count, void* self) {
    static_cast<Transfer*>(self)->TakeHeader({data, size * count});
    return size * count;
  }

  void TakeHeader(std::string_view line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) {  // an answer begins, perhaps after 100 Continue
      response_.headers.clear();
      return;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name(line.substr(0, colon));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) {
      value.remove_prefix(1);
    }
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    response_.headers.push_back({std::move(name), std::string(value)});
  }

  static size_t OnBody(const char* data, size_t size, size_t count, void* self) {
    auto* transfer = static_cast<Transfer*>(self);
    return transfer->TakeBody(AsBytes({data, size * count})) ? size * count : 0;
  }

  bool TakeBody(ByteSpan bytes) {
    if (!WaitFor(options_.download_limit, bytes.size())) return false;
    const bool successful =
        ReadStatus() >= HttpStatus::kOk && ReadStatus() < HttpStatus::kMultipleChoices;
    if (successful && !request_.into.empty()) {
      if (bytes.size() > request_.into.size() - response_.received) {
        return Refuse(Status::Io, "sent more than the " + std::to_string(request_.into.size()) +
                                      " bytes asked for");
      }
      std::copy(bytes.begin(), bytes.end(), request_.into.begin() + response_.received);
      response_.received += bytes.size();
      return true;
    }
    if (successful && bytes.size() > request_.body_max - response_.body.size()) {
      return Refuse(Status::InvalidArgument,
                    "sent more than " + std::to_string(request_.body_max) + " bytes");
    }
    // The beginning of an error says enough.
    const size_t room =
        successful ? bytes.size() : std::min(bytes.size(), kErrorBodyMax - response_.body.size());
    response_.body.insert(response_.body.end(), bytes.begin(), bytes.begin() + room);
    return true;
  }

  bool Refuse(Status (*make)(std::string), const std::string& what) {
    refused_ = make(HostOf(request_.url) + " " + what);
    return false;
  }

  static size_t OnSend(char* out, size_t size, size_t count, void* self) {
    return static_cast<Transfer*>(self)->Give({reinterpret_cast<uint8_t*>(out), size * count});
  }

  size_t Give(MutableByteSpan out) {
    while (part_ < request_.body.size() && part_offset_ == request_.body[part_].size()) {
      ++part_;
      part_offset_ = 0;
    }
    if (part_ == request_.body.size()) return 0;
    const ByteSpan rest = request_.body[part_].subspan(part_offset_);
    size_t bytes = std::min(rest.size(), out.size());
    if (options_.upload_limit != nullptr) {
      size_t allowed = 0;
      while (allowed == 0) {
        if (Cancelled()) return CURL_READFUNC_ABORT;
        allowed = options_.upload_limit->Take(bytes);
      }
      bytes = allowed;
    }
    std::copy_n(rest.begin(), bytes, out.begin());
    part_offset_ += bytes;
    return bytes;
  }

  // libcurl rewinds when a kept connection turns out to be dead.
  static int OnSeek(void* self, curl_off_t offset, int origin) {
    if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
    auto* transfer = static_cast<Transfer*>(self);
    transfer->part_ = 0;
    transfer->part_offset_ = 0;
    return CURL_SEEKFUNC_OK;
  }

  static int OnProgress(void* self, curl_off_t /*dltotal*/, curl_off_t /*dlnow*/,
                        curl_off_t /*ultotal*/, curl_off_t /*ulnow*/) {
    return static_cast<Transfer*>(self)->Cancelled() ? 1 : 0;
  }

  bool Cancelled() const { return options_.cancelled != nullptr && options_.cancelled(); }

  bool WaitFor(BandwidthLimit* limit, size_t bytes) {
    while (limit != nullptr && bytes > 0) {
      if (Cancelled()) {
        refused_ = Status::Cancelled("interrupted");
        return false;
      }
      bytes -= limit->Take(bytes);
    }
    return true;
  }

  int ReadStatus() {
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    return response_.status;
  }

  friend class HttpClient;

  const HttpRequest& request_;
  const HttpClientOptions& options_;
  CURL* const easy_;
  curl_slist* headers_ = nullptr;
  char detail_[CURL_ERROR_SIZE] = {};
  HttpResponse response_;
  Status refused_;
  size_t body_bytes_ = 0;
  size_t part_ = 0;  // of the body, and how much of it is sent
  size_t part_offset_ = 0;
};

class HttpClient::Channel {
 public:
  Channel() : multi_(curl_multi_init()) {
    SNAP_CHECK(multi_ != nullptr);
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kConnectionsKept);
  }
  ~Channel() {
    for (CURL* easy : easies_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  CURLM* multi() { return multi_; }

  CURL* Easy(size_t n) {
    while (easies_.size() <= n) {
      easies_.push_back(curl_easy_init());
      SNAP_CHECK(easies_.back() != nullptr);
    }
    curl_easy_reset(easies_[n]);
    return easies_[n];
  }

 private:
  CURLM* const multi_;
  std::vector<CURL*> easies_;
};

HttpClient::HttpClient(HttpClientOptions options) : options_(std::move(options)) { InitLibrary(); }

HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Channel> HttpClient::Borrow() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Channel>();
  std::unique_ptr<Channel> channel = std::move(idle_.back());
  idle_.pop_back();
  return channel;
}

void HttpClient::Return(std::unique_ptr<Channel> channel) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(channel));
}

Result<HttpResponse> HttpClient::Send(const HttpRequest& request) {
  return std::move(SendAll({&request, 1}).front());
}

std::vector<Result<HttpResponse>> HttpClient::SendAll(std::span<const HttpRequest> requests) {
  std::unique_ptr<Channel> channel = Borrow();
  std::vector<std::unique_ptr<Transfer>> transfers;
  std::vector<CURLcode> codes(requests.size(), CURLE_FAILED_INIT);
  for (size_t n = 0; n < requests.size(); ++n) {
    CURL* const easy = channel->Easy(n);
    transfers.push_back(std::make_unique<Transfer>(requests[n], options_, easy));
    SNAP_CHECK(curl_multi_add_handle(channel->multi(), easy) == CURLM_OK);
  }
  for (int running = 1; running > 0;) {
    SNAP_CHECK(curl_multi_perform(channel->multi(), &running) == CURLM_OK);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(channel->multi(), &left)) {
      const auto it = std::find_if(transfers.begin(), transfers.end(), [message](const auto& t) {
        return t->easy_ == message->easy_handle;
      });
      codes[it - transfers.begin()] = message->data.result;
    }
    if (running > 0) {
      SNAP_CHECK(curl_multi_poll(channel->multi(), nullptr, 0, kPollMillis, nullptr) == CURLM_OK);
    }
  }
  std::vector<Result<HttpResponse>> results;
  for (size_t n = 0; n < requests.size(); ++n) {
    transfers[n]->ReadStatus();
    curl_multi_remove_handle(channel->multi(), transfers[n]->easy_);
    results.push_back(transfers[n]->Finish(codes[n]));
  }
  Return(std::move(channel));
  return results;
}

Result<int64_t> ParseHttpDate(std::string_view text) {
  const time_t seconds = ::curl_getdate(std::string(text).c_str(), nullptr);
  if (seconds < 0) return Status::Io(fmt::format("'{}' is no date", text));
  return seconds * kNanosPerSecond;
}

}  // namespace snapstore
