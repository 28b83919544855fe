// Diagnose: what of this machine and of a repository's place will get in the way, before it does.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_DOCTOR_H_
#define SNAPSTORE_DOCTOR_H_

#include "snapstore/diagnosis.h"
#include "snapstore/repository.h"

namespace snapstore {

struct DoctorOptions {
  // Put, ask for and delete one small object, to see what the store makes of conditions.
  bool write_probe = false;
};

// Looks at the machine, then, if `repository.location` is not empty, at the store and the
// repository. Everything that goes wrong is a diagnosis. `sink` is called from this thread.
void Diagnose(const RepositoryOptions& repository, const DoctorOptions& options,
              const DiagnosisSink& sink);

}  // namespace snapstore

#endif  // SNAPSTORE_DOCTOR_H_
