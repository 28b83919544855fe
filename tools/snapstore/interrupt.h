// SIGINT and SIGTERM as a request to stop: the first sets a flag that operations poll, a second
// ends the process at once with exit code 130.
//
// Thread safety: Interrupted may be called from any thread.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_INTERRUPT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_INTERRUPT_H_

#include "snapstore/status.h"

namespace snapstore::cli {

// Installs the handlers, and ignores SIGPIPE so that a closed pipe is an error of write(2). Call
// once, before threads are started.
Status CatchInterrupts();

bool Interrupted();

// Blocks until `fd` can be read (or is at its end). Cancelled when interrupted meanwhile.
Status WaitReadable(int fd);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_INTERRUPT_H_
