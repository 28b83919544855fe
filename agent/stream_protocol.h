// The wire format CRIU speaks with an image streamer (criu/img-streamer.c): on a stream socket, a
// 32-bit little-endian length and a protobuf message naming a file, then one byte that carries the
// descriptor of a pipe for that file's bytes.
#ifndef SNAPSTORE_AGENT_STREAM_PROTOCOL_H_
#define SNAPSTORE_AGENT_STREAM_PROTOCOL_H_

#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// A listening socket at `path`, whatever stood there is removed. InvalidArgument when the path is
// longer than the address of a Unix socket may be.
Result<UniqueFd> ListenUnix(const std::string& path, int type = SOCK_STREAM);

// The address of the socket at `path`; InvalidArgument as above.
Result<sockaddr_un> UnixAddress(const std::string& path);

// Accepts one connection; a peer that falls silent within a message fails after ten seconds.
Result<UniqueFd> AcceptUnix(int listening_fd);

// The next request's file name; nothing when the peer has closed the connection in good order.
// Corruption: not this protocol.
Result<std::optional<std::string>> ReadImageRequest(int fd);

// The descriptor that follows.
Result<UniqueFd> ReceiveDescriptor(int fd);

// Tells CRIU whether the file it asked for exists.
Status SendImageReply(int fd, bool exists);

// Makes a pipe hold 16 MiB or, without the privilege, 1 MiB; smaller is slower only.
void EnlargePipe(int fd);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_STREAM_PROTOCOL_H_
