"""Small programs that CRIU cannot dump, cannot restore, or restores with something missing."""

import ctypes
import os
import socket
import struct
import subprocess
import threading

from feature import Features, child, main, wait_for_ever, wait_until
from kernel import (LIBC, MAP_ANONYMOUS, MAP_HUGETLB, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED,
                    Unavailable, ask, call, map_pages, prctl, unshare)

feature = Features()
KEPT = []  # what must not be closed
CLONE_NEWTIME = 0x80
CLONE_NEW = {"user": 0x10000000, "net": 0x40000000, "mount": 0x20000, "uts": 0x4000000,
             "ipc": 0x8000000, "cgroup": 0x2000000}
CLONE_VM, CLONE_FS, CLONE_FILES = 0x100, 0x200, 0x400
SIGCHLD = 17


def a_socket(*words):
    try:
        KEPT.append(socket.socket(*words))
    except OSError as error:
        raise Unavailable(str(error)) from error
    return KEPT[-1]


def device(path, mode=os.O_RDWR | os.O_NOCTTY):
    try:
        return os.open(path, mode)
    except OSError as error:
        raise Unavailable(str(error)) from error


def a_file(name="file"):
    return os.open(name, os.O_RDWR | os.O_CREAT)


@feature
def io_uring():
    call("io_uring_setup", 4, ctypes.create_string_buffer(120))


@feature
def io_uring_mapped():
    ring = call("io_uring_setup", 4, ctypes.create_string_buffer(120))
    map_pages(4096, MAP_SHARED, ring)
    os.close(ring)


@feature
def userfaultfd():
    call("userfaultfd", 1)


@feature
def perf_event():
    attributes = bytearray(128)
    struct.pack_into("IIQQ", attributes, 0, 1, 128, 0, 0)
    call("perf_event_open", (ctypes.c_char * 128).from_buffer(attributes), 0, -1, -1, 0)


@feature
def bpf_map():
    words = struct.pack("IIII", 2, 4, 4, 1) + bytes(100)
    call("bpf", 0, ctypes.create_string_buffer(words), 116)


@feature
def landlock_rules():
    call("landlock_create_ruleset", ctypes.create_string_buffer(struct.pack("Q", 1)), 8, 0)


@feature
def alarm_timer():
    ask(LIBC.timerfd_create(9, 0), "timerfd_create")


@feature
def pidfd_outside():
    os.pidfd_open(1)


@feature
def watch_of_proc():
    group = LIBC.inotify_init()
    ask(LIBC.inotify_add_watch(group, b"/proc/self/stat", 2), "inotify_add_watch")


@feature
def terminal_outside():
    with open("terminal", encoding="utf-8") as file:
        device(file.read())


@feature
def serial_line():
    device("/dev/ttyS0")


@feature
def virtual_machine():
    device("/dev/kvm")


@feature
def fuse_device():
    device("/dev/fuse")


@feature
def tunnel():
    device("/dev/net/tun")


@feature
def block_device():
    device("/dev/loop0", os.O_RDONLY)


@feature
def message_queue():
    queues = ctypes.CDLL("librt.so.1", use_errno=True)
    ask(queues.mq_open(b"/queue", os.O_RDWR | os.O_CREAT, 0o600, None), "mq_open")


@feature
def secret_memory():
    secret = call("memfd_secret", 0)
    os.ftruncate(secret, 4096)


@feature
def secret_memory_mapped():
    secret = call("memfd_secret", 0)
    os.ftruncate(secret, 4096)
    ctypes.memset(map_pages(4096, MAP_SHARED, secret), 1, 4096)
    os.close(secret)


@feature
def huge_pages():
    map_pages(2 << 20, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE)


@feature
def huge_pages_memfd():
    os.ftruncate(os.memfd_create("huge", 4), 2 << 20)


@feature
def packet_pipe():
    os.pipe2(os.O_DIRECT)


@feature
def big_deleted_file():
    file = a_file()
    os.unlink("file")
    os.posix_fallocate(file, 0, 101 << 20)


@feature
def detached_mount():
    os.mkdir("mount")
    subprocess.run(["mount", "-t", "tmpfs", "none", "mount"], check=True)
    a_file("mount/file")
    subprocess.run(["umount", "-l", "mount"], check=True)


@feature
def own_mount():
    os.mkdir("mount")
    subprocess.run(["mount", "-t", "tmpfs", "none", "mount"], check=True)
    a_file("mount/file")


@feature
def covered_file():
    os.mkdir("mount")
    a_file("mount/file")
    subprocess.run(["mount", "-t", "tmpfs", "none", "mount"], check=True)


@feature
def deleted_hard_link():
    a_file()
    os.link("file", "other")
    os.unlink("file")


@feature
def file_of_dead_process():
    pid = os.fork()
    if pid == 0:
        wait_for_ever()
    os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    os.kill(pid, 9)
    os.waitpid(pid, 0)


@feature
def foreign_namespace():
    os.open("/proc/1/ns/ipc", os.O_RDONLY)


def outside(kind):
    a_socket(socket.AF_UNIX, kind).connect({socket.SOCK_STREAM: "stream",
                                            socket.SOCK_SEQPACKET: "packets",
                                            socket.SOCK_DGRAM: "datagrams"}[kind])


@feature
def stream_outside():
    outside(socket.SOCK_STREAM)


@feature
def packets_outside():
    outside(socket.SOCK_SEQPACKET)


@feature
def datagrams_outside():
    outside(socket.SOCK_DGRAM)


@feature
def multipath_tcp():
    a_socket(socket.AF_INET, socket.SOCK_STREAM, 262)


@feature
def vsock():
    a_socket(socket.AF_VSOCK, socket.SOCK_STREAM)


@feature
def xdp():
    a_socket(44, socket.SOCK_RAW)


@feature
def crypto_socket():
    a_socket(socket.AF_ALG, socket.SOCK_SEQPACKET)


@feature
def sctp():
    a_socket(socket.AF_INET, socket.SOCK_STREAM, 132)


@feature
def kernel_tls():
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    KEPT.extend((listener, client, listener.accept()))
    try:
        client.setsockopt(socket.IPPROTO_TCP, 31, b"tls")
    except OSError as error:
        raise Unavailable(str(error)) from error


@feature
def unread_netlink():
    routes = a_socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    routes.bind((0, 0))
    routes.send(struct.pack("IHHIIB3x", 20, 18, 0x301, 1, 0, 0))


@feature
def traced():
    ask(LIBC.ptrace(0x4206, child(), 0, 0), "ptrace")


def own_namespace(kind):
    child(lambda: unshare(CLONE_NEW[kind]))


for _kind in CLONE_NEW:
    feature[f"{_kind}_namespace"] = lambda kind=_kind: own_namespace(kind)


@feature
def pid_namespace():
    def work():
        unshare(0x20000000)
        child()
    child(work)


@feature
def time_namespace():
    child(lambda: unshare(CLONE_NEWTIME))


@feature
def user_namespace_of_all():
    unshare(CLONE_NEW["user"])


@feature
def another_user():
    child(lambda: os.setuid(12345))


def raw_clone(flags):
    if LIBC.syscall(ctypes.c_long(56), ctypes.c_long(flags | SIGCHLD), 0, 0, 0, 0) == 0:
        while True:
            LIBC.pause()


@feature
def shared_directory():
    raw_clone(CLONE_FS)


@feature
def shared_memory():
    stack = map_pages(1 << 20, MAP_PRIVATE | MAP_ANONYMOUS)
    ask(LIBC.clone(ctypes.cast(LIBC.pause, ctypes.c_void_p),
                   ctypes.c_void_p(stack + (1 << 20) - 64), CLONE_VM | SIGCHLD, None), "clone")


@feature
def first_thread_ended():
    pid = os.fork()
    if pid == 0:
        threading.Thread(target=wait_for_ever).start()
        LIBC.pthread_exit(None)

    def is_zombie():
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    wait_until(is_zombie)


@feature
def deadline_scheduling():
    words = struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 10_000_000, 100_000_000, 100_000_000)
    ask(LIBC.syscall(314, 0, ctypes.create_string_buffer(words), 0), "sched_setattr")


@feature
def program_in_memory():
    program = os.memfd_create("program", 0)
    with open("/bin/sleep", "rb") as file:
        os.write(program, file.read())
    pid = os.fork()
    if pid == 0:
        os.execv(f"/proc/self/fd/{program}", ["sleep", "1000"])
    wait_until(lambda: os.readlink(f"/proc/{pid}/exe").startswith("/memfd:"))
    os.close(program)


# What comes back, but not as it was.

@feature
def pipe_outside():
    """Nobody in the application holds its other end."""
    os.close(os.pipe()[1])


@feature
def one_processor():
    if os.cpu_count() < 2:
        raise Unavailable("there is one processor only")
    os.sched_setaffinity(0, {0})


@feature
def io_priority():
    ask(LIBC.syscall(251, 1, 0, (2 << 13) | 7), "ioprio_set")


@feature
def personality():
    ask(LIBC.personality(0x0040000), "personality")


@feature
def descriptors_under_way():
    one, other = socket.socketpair()
    socket.send_fds(one, [b"x"], [a_file()])
    KEPT.extend((one, other))


def in_a_thread(flags):
    done = threading.Event()
    def work():
        unshare(flags)
        done.set()
        wait_for_ever()
    threading.Thread(target=work, daemon=True).start()
    done.wait()


@feature
def directory_of_a_thread():
    in_a_thread(CLONE_FS)


@feature
def descriptors_of_a_thread():
    in_a_thread(CLONE_FILES)


@feature
def unborn_pid_namespace():
    unshare(0x20000000)


@feature
def file_not_listed():
    a_file(os.path.dirname(os.getcwd()) + ".unlisted")


if __name__ == "__main__":
    main(feature)
