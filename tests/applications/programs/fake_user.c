/* Preloaded: a program that refuses to run as root believes that it is user SNAPSTORE_USER. For
   machines whose root may not checkpoint the processes of others (no CAP_SYS_RESOURCE). */
#include <sys/types.h>

uid_t getuid(void) { return SNAPSTORE_USER; }
uid_t geteuid(void) { return SNAPSTORE_USER; }
gid_t getgid(void) { return SNAPSTORE_USER; }
gid_t getegid(void) { return SNAPSTORE_USER; }
