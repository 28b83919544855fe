// Whether processes can be checkpointed on this machine.
#ifndef SNAPSTORE_AGENT_CRIU_DOCTOR_H_
#define SNAPSTORE_AGENT_CRIU_DOCTOR_H_

#include "snapstore/diagnosis.h"

namespace snapstore::agent {

// CRIU's place and version, and what it says about the kernel (`criu check`, as root only). Its
// absence is a warning: snapshots of files do without.
Diagnosis DiagnoseCriu();

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CRIU_DOCTOR_H_
