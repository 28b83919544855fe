// Observer: progress, warnings and cancellation of a long operation.
//
// Thread safety: the engine calls from one thread at a time, though not always the same one.
// Callbacks must return quickly; they are never called more than about ten times a second, warnings
// excepted.
#ifndef SNAPSTORE_OBSERVER_H_
#define SNAPSTORE_OBSERVER_H_

#include <cstdint>
#include <string>

#include "snapstore/status.h"

namespace snapstore {

struct Progress {
  std::string phase;  // "scan", "read", "commit", "restore", "check packs", …
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // 0: not known
  uint64_t items_done = 0;
  uint64_t items_total = 0;  // 0: not known
  std::string current;       // path or object at hand, may be empty
};

// Something that went wrong with one item while the operation as a whole goes on.
struct Warning {
  std::string item;  // path or object
  Status status;
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnProgress(const Progress& progress) { (void)progress; }
  virtual void OnWarning(const Warning& warning) { (void)warning; }
  // Polled often; once true, the operation ends with Cancelled as soon as it safely can.
  virtual bool Cancelled() { return false; }
};

}  // namespace snapstore

#endif  // SNAPSTORE_OBSERVER_H_
