// Requests to a controller at a steady rate, whatever it answers: an open loop. A request's latency
// counts from when it was due, so that what waits behind a slow one is seen to wait.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_BENCH_SCALE_LOAD_H_
#define SNAPSTORE_BENCH_SCALE_LOAD_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::bench {

struct LoadOptions {
  std::string host = "127.0.0.1";
  int port = 0;
  bool tls = false;
  std::string token;
  std::string ids_file;  // of the nodes, one a line
  double rate = 200;     // requests a second
  double seconds = 20;
  double warm_up_seconds = 2;  // which are not counted
  int connections = 16;
  uint64_t seed = 1;
  bool whole_lists = false;  // lists of nodes are asked for as a whole, not by the page
};

// JSON: per kind of request and of all, how many, milliseconds (median, p90, p99, greatest) and
// HTTP statuses. Io: the controller cannot be reached.
Result<std::string> RunLoad(const LoadOptions& options);

// For the reports of what sends requests.
nlohmann::ordered_json SummarizeLatency(std::vector<double> ms,
                                        const std::map<int, size_t>& statuses);
// The lines of that file. NotFound: there are none.
Result<std::vector<std::string>> ReadIds(const std::string& path);
// `report` as text, if anything of `all` (of SummarizeLatency) was answered; Io otherwise.
Result<std::string> CheckAnswered(const nlohmann::ordered_json& all,
                                  const nlohmann::ordered_json& report, const LoadOptions& options);

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_SCALE_LOAD_H_
