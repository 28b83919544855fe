#include "agent/stream_protocol.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr size_t kRequestBytesMax = 4096;
// The larger, the less often the two sides wait for each other; the second is what anybody gets.
constexpr int kPipeBytes[] = {16 << 20, 1 << 20};
constexpr uint8_t kFilenameTag = 0x0a;  // field 1, length-delimited
constexpr uint8_t kExistsTag = 0x08;    // field 1, varint
constexpr int kPeerTimeoutSeconds = 10;

// Exactly out.size() bytes and not one more: a descriptor rides on the byte that follows.
// Returns how many came before the end of the stream.
Result<size_t> ReceiveExactly(int fd, MutableByteSpan out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = recv(fd, out.data() + done, out.size() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::FromErrno(errno, "read from CRIU");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

}  // namespace

Result<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Status::InvalidArgument(fmt::format(
        "{}: too long for a socket (at most {} bytes): choose a shorter state directory", path,
        sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> ListenUnix(const std::string& path, int type) {
  SNAP_ASSIGN_OR_RETURN(const sockaddr_un address, UnixAddress(path));
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::FromErrno(errno, "make a socket");
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Status::FromErrno(errno, fmt::format("remove old {}", path));
  }
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd.get(), 1) != 0) {
    return Status::FromErrno(errno, fmt::format("listen on {}", path));
  }
  return fd;
}

Result<UniqueFd> AcceptUnix(int listening_fd) {
  UniqueFd fd;
  do {
    fd.Reset(accept4(listening_fd, nullptr, nullptr, SOCK_CLOEXEC));
  } while (!fd.valid() && errno == EINTR);
  if (!fd.valid()) return Status::FromErrno(errno, "accept CRIU's connection");
  const timeval timeout{kPeerTimeoutSeconds, 0};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0) {
    return Status::FromErrno(errno, "set up CRIU's connection");
  }
  return fd;
}

Result<std::optional<std::string>> ReadImageRequest(int fd) {
  std::array<uint8_t, 4> prefix{};
  SNAP_ASSIGN_OR_RETURN(size_t got, ReceiveExactly(fd, prefix));
  if (got == 0) return std::optional<std::string>();
  const uint32_t length = LoadLe<uint32_t>(prefix.data());
  if (got != prefix.size() || length == 0 || length > kRequestBytesMax) {
    return Status::Corruption("CRIU's image stream: bad request length");
  }
  Bytes message(length);
  SNAP_ASSIGN_OR_RETURN(got, ReceiveExactly(fd, message));
  if (got != length) return Status::Corruption("CRIU's image stream: ends within a request");
  ByteReader reader(message);
  const uint8_t tag = reader.U8();
  const uint64_t name_length = reader.Varint();
  if (!reader.ok() || tag != kFilenameTag || name_length != reader.remaining()) {
    return Status::Corruption("CRIU's image stream: bad request");
  }
  std::string name(AsText(reader.Raw(reader.remaining())));
  if (!IsPlainName(name)) return Status::Corruption("CRIU's image stream: bad file name");
  return std::optional<std::string>(std::move(name));
}

Result<UniqueFd> ReceiveDescriptor(int fd) {
  uint8_t byte = 0;
  iovec vector{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got;
  do {
    got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Status::FromErrno(errno, "receive a pipe from CRIU");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got != 1 || header == nullptr || header->cmsg_level != SOL_SOCKET ||
      header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return Status::Corruption("CRIU's image stream: a pipe was due and did not come");
  }
  int received = -1;
  std::memcpy(&received, CMSG_DATA(header), sizeof(received));
  return UniqueFd(received);
}

Status SendImageReply(int fd, bool exists) {
  const std::array<uint8_t, 6> reply{2, 0, 0, 0, kExistsTag, static_cast<uint8_t>(exists ? 1 : 0)};
  size_t done = 0;
  while (done < reply.size()) {
    const ssize_t sent = send(fd, reply.data() + done, reply.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return Status::FromErrno(errno, "answer CRIU");
    done += static_cast<size_t>(sent);
  }
  return Status::Ok();
}

void EnlargePipe(int fd) {
  for (const int bytes : kPipeBytes) {
    if (fcntl(fd, F_SETPIPE_SZ, bytes) >= 0) return;
  }
}

}  // namespace snapstore::agent
