// Hands a descriptor over as CRIU does: with one byte.
#ifndef SNAPSTORE_TESTS_AGENT_SEND_DESCRIPTOR_H_
#define SNAPSTORE_TESTS_AGENT_SEND_DESCRIPTOR_H_

#include <sys/socket.h>

#include <cstring>

namespace snapstore::agent {

inline bool SendDescriptor(int socket, int fd) {
  char byte = 0;
  iovec vector{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  return sendmsg(socket, &message, 0) == 1;
}

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_SEND_DESCRIPTOR_H_
