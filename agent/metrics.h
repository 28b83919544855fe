// Figures in the Prometheus text format: of one application, and of all of a node.
#ifndef SNAPSTORE_AGENT_METRICS_H_
#define SNAPSTORE_AGENT_METRICS_H_

#include <string>
#include <vector>

#include "agent/node_report.h"
#include "agent/supervisor.h"

namespace snapstore::agent {

std::string MetricsText(const SupervisorStatus& status);
std::string NodeMetricsText(const std::vector<NodeApplicationReport>& applications);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_METRICS_H_
