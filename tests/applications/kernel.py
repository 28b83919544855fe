"""System calls that Python has no function for, for small programs that use one thing each."""

import ctypes
import os
import platform

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long)
LIBC.shmat.restype = ctypes.c_void_p

# Those from 424 on have one number everywhere.
NUMBERS = {"io_setup": 206, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298,
           "fanotify_init": 300, "add_key": 248, "io_uring_setup": 425, "pidfd_open": 434,
           "landlock_create_ruleset": 444, "landlock_restrict_self": 446, "memfd_secret": 447,
           "mseal": 462}
PROT_READ_WRITE = 3
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_HUGETLB = 1, 2, 0x20, 0x40000
MAP_NORESERVE, MAP_GROWSDOWN, MAP_DROPPABLE = 0x4000, 0x100, 8


class Unavailable(Exception):
    """This kernel or this machine does not have it."""


def ask(result, what):
    """`result`, unless it says that the call failed."""
    if result in (-1, None, ctypes.c_void_p(-1).value):
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def call(name, *arguments):
    if NUMBERS[name] < 424 and platform.machine() != "x86_64":
        raise Unavailable(f"{name}: its number is known for x86_64 only")
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return ask(LIBC.syscall(ctypes.c_long(NUMBERS[name]), *words), name)


def prctl(*words):
    return ask(LIBC.prctl(*(ctypes.c_ulong(one) if isinstance(one, int) else one
                            for one in words)), "prctl")


def map_pages(size, flags, descriptor=-1, protection=PROT_READ_WRITE):
    return ask(LIBC.mmap(None, size, protection, flags, descriptor, 0), "mmap")


def unshare(flags):
    ask(LIBC.unshare(flags), "unshare")
