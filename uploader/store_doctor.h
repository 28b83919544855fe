// DiagnosableStore: what a store implements that can tell how the place it is in is like.
//
//   if (auto* place = dynamic_cast<DiagnosableStore*>(store.get())) place->Diagnose(false, sink);
//
// Thread safety: as the store's.
#ifndef SNAPSTORE_UPLOADER_STORE_DOCTOR_H_
#define SNAPSTORE_UPLOADER_STORE_DOCTOR_H_

#include "snapstore/diagnosis.h"

namespace snapstore {

class DiagnosableStore {
 public:
  virtual ~DiagnosableStore() = default;

  // Tells `sink` what the place is like and what could be better. `write_probe`: may put an object
  // for a moment. False when the store cannot be used, so that asking it for objects makes no
  // sense.
  virtual bool Diagnose(bool write_probe, const DiagnosisSink& sink) = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_STORE_DOCTOR_H_
