// MetricsText: the supervisor's figures in the Prometheus text format.
#ifndef SNAPSTORE_AGENT_METRICS_H_
#define SNAPSTORE_AGENT_METRICS_H_

#include <string>

#include "agent/supervisor.h"

namespace snapstore::agent {

std::string MetricsText(const SupervisorStatus& status);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_METRICS_H_
