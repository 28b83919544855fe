// Filters and pages of Describe calls.
// Source: "List and filter using the CLI and API", Amazon EC2 User Guide: values of one filter are
// alternatives, filters must all hold, * and ? are wild cards.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_FILTERS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_FILTERS_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "orchestrator/localcloud/parameters.h"
#include "orchestrator/localcloud/records.h"

namespace snapstore::localcloud {

// Filter name -> where its value is in a record: names joined by '.', '*' for each of a list:
// {"attachment.instance-id", "attachmentSet.*.instanceId"}.
using FilterTable = std::vector<std::pair<std::string_view, std::string_view>>;

// The values at such a place; numbers and truths as text.
std::vector<std::string> ValuesAt(const Json& record, std::string_view path);

// Whether all filters of the call hold. InvalidParameterValue for a filter that `table` lacks and
// that is not "tag:KEY" or "tag-key".
ApiResult<bool> FiltersHold(const Parameters& parameters, const FilterTable& table,
                            const Json& record);

// Cuts `items` to the page the call asks for with MaxResults and NextToken. Returns the token of
// the next page, empty after the last.
ApiResult<std::string> CutPage(const Parameters& parameters, Json* items);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_FILTERS_H_
