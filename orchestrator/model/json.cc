#include "orchestrator/model/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

namespace snapstore::spot {
namespace {

// Watches a parse and says what is wrong with the document beside its grammar. Once something is,
// nothing more is kept of it, so that a hostile body costs no more than its own length.
class Watcher {
 public:
  bool operator()(int /*depth*/, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (!problem_.empty()) {
      // Only to stay in step; the parser wants its ends matched with false as well.
      return false;
    }
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        members_.emplace_back();
        if (members_.size() > kJsonDepthMax) {
          problem_ = fmt::format("nested deeper than {} levels", kJsonDepthMax);
        }
        break;
      case Event::object_end:
      case Event::array_end:
        members_.pop_back();
        break;
      case Event::key:
        Key(parsed.get_ref<const std::string&>());
        break;
      case Event::value:
        break;
    }
    return problem_.empty();
  }

  const std::string& problem() const { return problem_; }

 private:
  void Key(const std::string& name) {
    std::set<std::string>& names = members_.back();
    if (!names.insert(name).second) {
      problem_ = fmt::format("the member '{}' is there twice", name.substr(0, 64));
    } else if (names.size() > kJsonMembersMax) {
      problem_ = fmt::format("an object has more than {} members", kJsonMembersMax);
    }
  }

  std::vector<std::set<std::string>> members_;
  std::string problem_;
};

Status NotJson(const nlohmann::json::exception& error) {
  std::string why = error.what();
  // "[json.exception.parse_error.101] parse error at line 1, column 2: …"
  if (const size_t end = why.find("] "); end != std::string::npos) why.erase(0, end + 2);
  std::replace_if(
      why.begin(), why.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return Status::InvalidArgument("not valid JSON: " + why);
}

}  // namespace

Result<Json> ParseTrustedJson(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return NotJson(error);
  }
}

Result<Json> ParseJson(std::string_view text) {
  // The library copies its callback; the state must not be copied with it.
  Watcher watcher;
  Json document;
  try {
    document = Json::parse(text, [&watcher](int depth, Json::parse_event_t event, Json& parsed) {
      return watcher(depth, event, parsed);
    });
  } catch (const nlohmann::json::exception& error) {
    return NotJson(error);
  }
  if (!watcher.problem().empty()) return Status::InvalidArgument(watcher.problem());
  return document;
}

std::string JsonText(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace snapstore::spot
