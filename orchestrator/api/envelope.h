// The envelope every answer of the Spot API comes in:
//   {"request": {id, url, method, timestamp}, "response": {status, kind, items, count | errors |
//   …}}
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_ORCHESTRATOR_API_ENVELOPE_H_
#define SNAPSTORE_ORCHESTRATOR_API_ENVELOPE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "orchestrator/model/field_error.h"
#include "orchestrator/model/json.h"

namespace snapstore::spot {

struct ApiRequest {
  std::string method;  // GET, POST, PUT, DELETE
  std::string path;    // decoded, without the query
  std::string target;  // path and query as sent
  std::multimap<std::string, std::string> query;
  std::string authorization;  // the header's value
  std::string body;

  std::optional<std::string> Parameter(const std::string& name) const {
    const auto it = query.find(name);
    return it == query.end() ? std::nullopt : std::optional(it->second);
  }
};

struct ApiError {
  std::string code;  // of the catalogue in docs/controller.md
  std::string message;
  std::string field = {};
};

// Items that are JSON already: pieces of text whose sequence is the list without its brackets.
struct ItemTexts {
  struct Piece {
    std::shared_ptr<const std::string> owner;  // null: the text is a literal
    std::string_view text;
  };
  std::vector<Piece> pieces = {};
  size_t count = 0;
};

// What a handler answers with; nothing but one of these kinds.
struct ApiReply {
  int status = 200;
  std::string kind = {};
  std::optional<std::vector<Json>> items = {};  // none: success without items
  std::optional<ItemTexts> texts = {};          // in place of items
  std::vector<ApiError> errors = {};
  std::optional<std::vector<Json>> failures = {};  // of a bulk call
  std::string data = {};                           // of 429

  static ApiReply Done() { return {}; }
  static ApiReply Items(std::string kind, std::vector<Json> items) {
    return {.kind = std::move(kind), .items = std::move(items)};
  }
  static ApiReply Texts(std::string kind, ItemTexts texts) {
    return {.kind = std::move(kind), .texts = std::move(texts)};
  }
  static ApiReply Error(int status, std::string code, std::string message, std::string field = {}) {
    return {.status = status, .errors = {{std::move(code), std::move(message), std::move(field)}}};
  }
  // 400 with each problem and the path of its field.
  static ApiReply Invalid(const std::string& code, const FieldErrors& errors);
};

struct ApiResponse {
  int status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

std::string StatusText(int status);  // "Bad Request"
std::string EnvelopeText(const ApiRequest& request, const ApiReply& reply);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_API_ENVELOPE_H_
