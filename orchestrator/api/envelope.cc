#include "orchestrator/api/envelope.h"

#include "base/clock.h"
#include "orchestrator/model/ids.h"

namespace snapstore::spot {

ApiReply ApiReply::Invalid(const std::string& code, const FieldErrors& errors) {
  ApiReply reply;
  reply.status = 400;
  for (const FieldError& error : errors.all()) {
    reply.errors.push_back({code, error.ToString(), error.path});
  }
  return reply;
}

std::string StatusText(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 413:
      return "Payload Too Large";
    case 414:
      return "URI Too Long";
    case 429:
      return "Too Many Requests";
    default:
      // What the server refuses before it is a call: lengths, ranges, transfer codings.
      return status < 500 ? "Bad Request" : "Internal Server Error";
  }
}

namespace {

// Puts the items in, before the two braces that end the envelope.
std::string WithItems(std::string envelope, const ItemTexts& texts) {
  constexpr std::string_view kItems = ",\"items\":[";
  const std::string end = "],\"count\":" + std::to_string(texts.count) + "}}";
  envelope.resize(envelope.size() - 2);
  size_t size = envelope.size() + kItems.size() + end.size();
  for (const ItemTexts::Piece& piece : texts.pieces) size += piece.text.size();
  envelope.reserve(size);
  envelope += kItems;
  for (const ItemTexts::Piece& piece : texts.pieces) envelope += piece.text;
  envelope += end;
  return envelope;
}

}  // namespace

std::string EnvelopeText(const ApiRequest& request, const ApiReply& reply) {
  Json response = Json::object();
  if (!reply.errors.empty()) {
    Json errors = Json::array();
    for (const ApiError& error : reply.errors) {
      Json entry = {{"code", error.code}, {"message", error.message}};
      if (!error.field.empty()) entry["field"] = error.field;
      errors.push_back(std::move(entry));
    }
    response["errors"] = std::move(errors);
  }
  response["status"] = {{"code", reply.status}, {"message", StatusText(reply.status)}};
  if (reply.items) {
    response["kind"] = reply.kind;
    response["items"] = *reply.items;
    response["count"] = reply.items->size();
  }
  if (reply.texts) response["kind"] = reply.kind;
  if (reply.failures) response["failures"] = *reply.failures;
  if (!reply.data.empty()) response["data"] = reply.data;
  std::string envelope = JsonText({{"request",
                                    {{"id", NewUuid()},
                                     {"url", request.target},
                                     {"method", request.method},
                                     {"timestamp", FormatTime(WallNanos())}}},
                                   {"response", std::move(response)}});
  return reply.texts ? WithItems(std::move(envelope), *reply.texts) : envelope;
}

}  // namespace snapstore::spot
