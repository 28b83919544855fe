// Part of the library that is preloaded into `criu dump`, see criu_filter.cc: makes the lock of
// connections cheap.
//
// While the application is frozen CRIU makes an nftables table by eleven commands, each of which
// has libnftables read all tables of the network first; adds each TCP connection to it before it
// looks at that; and deletes it (criu/netfilter.c and criu/net.c of CRIU 4.2.1). Here the eleven
// wait until there is a connection and are one transaction with that. Without one, there never is
// a table. And a context in which a table was deleted lives until CRIU ends, after the thaw:
// closing its socket waits for the kernel to be rid of the table.
//
// Any other command, such as those for a whole network namespace, is run as it comes.
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/criu_filter/filter_format.h"

struct nft_ctx;

// Functions of the C library's older versions are elsewhere, but then CRIU brings that along.
#pragma weak dlsym

namespace {

constexpr size_t kWaitingMax = 8192;
char waiting[kWaitingMax];  // commands, each with a line end
size_t waiting_bytes = 0;
bool deleted_a_table = false;

template <typename Function>
Function* Next(const char* name) {
  return dlsym == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int Run(nft_ctx* context, const char* commands) {
  auto* const run = Next<int(nft_ctx*, const char*, size_t)>("nft_run_cmd_from_buffer");
  // Versions before 0.9 have the length as well.
  return run == nullptr ? -1 : run(context, commands, strlen(commands));
}

bool BeginsWith(const char* text, const char* prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

// Whether it makes ready for a lock of single connections and by itself keeps no packet away.
bool IsPreparation(const char* command) {
  if (getenv(snapstore::agent::filter::kDirectoryVariable) == nullptr) return false;
  if (BeginsWith(command, "create table inet CRIU-")) return true;
  if (waiting_bytes == 0) return false;
  if (BeginsWith(command, "add chain inet CRIU-")) return strstr(command, "policy") == nullptr;
  if (BeginsWith(command, "add set inet CRIU-")) return strstr(command, "elements") == nullptr;
  return BeginsWith(command, "add rule inet CRIU-") &&
         (strstr(command, " accept") != nullptr || strstr(command, " @conns") != nullptr);
}

bool Wait(const char* command) {
  const size_t length = strlen(command);
  if (length + 2 > kWaitingMax - waiting_bytes) return false;
  memcpy(waiting + waiting_bytes, command, length);
  waiting_bytes += length;
  waiting[waiting_bytes++] = '\n';
  waiting[waiting_bytes] = '\0';
  return true;
}

int RunWaiting(nft_ctx* context) {
  if (waiting_bytes == 0) return 0;
  waiting_bytes = 0;
  return Run(context, waiting);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int nft_run_cmd_from_buffer(nft_ctx* context,
                                                                              const char* command) {
  if (IsPreparation(command) && Wait(command)) return 0;
  const bool deletes = BeginsWith(command, "delete table inet CRIU-");
  if (deletes && waiting_bytes != 0) {
    waiting_bytes = 0;
    return 0;
  }
  if (deletes) deleted_a_table = true;
  // One transaction, if it fits.
  if (waiting_bytes != 0 && Wait(command)) return RunWaiting(context);
  const int failed = RunWaiting(context);
  return failed != 0 ? failed : Run(context, command);
}

extern "C" __attribute__((visibility("default"))) void nft_ctx_free(nft_ctx* context) {
  if (deleted_a_table) return;
  if (auto* const free_context = Next<void(nft_ctx*)>("nft_ctx_free"); free_context != nullptr) {
    free_context(context);
  }
}
