#include "base/status_macros.h"
#include "engine/pack_sample.h"
#include "engine/repository_check.h"
#include "snapstore/inspect.h"

namespace snapstore {

Result<CheckReport> CheckRepository(Repository& repository, const CheckOptions& options,
                                    Observer* observer) {
  SNAP_RETURN_IF_ERROR(ValidateSample(options.sample));
  return RepositoryCheck(&RepositoryImpl::Of(repository), options, observer).Run();
}

}  // namespace snapstore
