// What there is to know about the file system that a directory store is on. Private to uploader.
#ifndef SNAPSTORE_UPLOADER_INTERNAL_DIRECTORY_DOCTOR_H_
#define SNAPSTORE_UPLOADER_INTERNAL_DIRECTORY_DOCTOR_H_

#include <string>

#include "snapstore/diagnosis.h"
#include "uploader/internal/mount_table.h"

namespace snapstore::internal {

// Space and mount of `path`, which exists.
void DiagnoseDirectory(const std::string& path, const DiagnosisSink& sink);

// The second half of it; exposed for tests.
Diagnosis DiagnoseMount(const MountEntry& mount);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_DIRECTORY_DOCTOR_H_
