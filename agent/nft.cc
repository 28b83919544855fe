#include "agent/nft.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nftables/libnftables.h>
#include <sched.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <thread>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace snapstore::agent {
namespace {

struct NftDeleter {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

}  // namespace

Result<std::string> RunNft(pid_t tid, const std::string& command) {
  const std::string path =
      tid == 0 ? "/proc/thread-self/ns/net" : fmt::format("/proc/{}/ns/net", tid);
  SNAP_ASSIGN_OR_RETURN(const UniqueFd network, OpenFile(path, O_RDONLY));
  Status status;
  std::string output;
  // A thread of its own: the namespace of this one stays.
  std::thread([&] {
    if (setns(network.get(), CLONE_NEWNET) != 0) {
      status = Status::FromErrno(errno, "enter a network namespace");
      return;
    }
    const std::unique_ptr<nft_ctx, NftDeleter> context(nft_ctx_new(NFT_CTX_DEFAULT));
    if (context == nullptr || nft_ctx_buffer_output(context.get()) != 0 ||
        nft_ctx_buffer_error(context.get()) != 0) {
      status = Status::NoSpace("nftables: out of memory");
    } else if (nft_run_cmd_from_buffer(context.get(), command.c_str()) != 0) {
      const std::string_view error = nft_ctx_get_error_buffer(context.get());
      status = Status::Io(fmt::format("nftables: {}: {}", command.substr(0, command.find('\n')),
                                      error.substr(0, error.find('\n'))));
    } else {
      output = nft_ctx_get_output_buffer(context.get());
    }
  }).join();
  SNAP_RETURN_IF_ERROR(status);
  return output;
}

}  // namespace snapstore::agent
