"""Small programs that check, after a restore, that the one thing they use is as it was."""

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import struct
import threading
import time

from feature import Features, child, main, wait_until
from kernel import (LIBC, MAP_ANONYMOUS, MAP_DROPPABLE, MAP_PRIVATE,
                    ask, call, map_pages, prctl, unshare)

feature = Features()
IPC_CREATE = 0o1600
IPC_NOWAIT = 0o4000


@feature
def pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 1 << 20)
    os.write(writer, b"a" * 100_000)

    def check():
        os.write(writer, b"z")
        assert os.read(reader, 200_000) == b"a" * 100_000 + b"z"
        assert fcntl.fcntl(writer, 1032) == 1 << 20
    return check


@feature
def unix_sockets():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("door")
    listener.listen()
    one, other = socket.socketpair()
    one.send(b"stream")
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    first.send(b"a")
    first.send(b"b")
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect("door")

    def check():
        assert one.fileno() and first.fileno()
        assert other.recv(10) == b"stream"
        assert (second.recv(10), second.recv(10)) == (b"a", b"b")
        with listener.accept()[0] as accepted:
            waiting.send(b"w")
            assert accepted.recv(1) == b"w"
        with socket.socket(socket.AF_UNIX) as late:
            late.connect("door")
            assert listener.accept()
    return check


@feature
def eventfd():
    event = os.eventfd(7, os.EFD_NONBLOCK)

    def check():
        assert os.eventfd_read(event) == 7
        os.eventfd_write(event, 3)
        assert os.eventfd_read(event) == 3
    return check


@feature
def epoll():
    poll, event = select.epoll(), os.eventfd(0)
    reader, writer = os.pipe()
    poll.register(event, select.EPOLLIN | select.EPOLLET)
    poll.register(reader, select.EPOLLIN)

    def check():
        assert poll.poll(0) == []
        os.eventfd_write(event, 1)
        os.write(writer, b"x")
        assert sorted(poll.poll(1)) == sorted([(event, 1), (reader, 1)])
        assert poll.poll(0) == [(reader, 1)]
    return check


@feature
def timerfd():
    """With a reader that waits, as in an event loop: an expiry nobody has read yet is not kept."""
    timer = ask(LIBC.timerfd_create(1, 0), "timerfd_create")
    every = ctypes.create_string_buffer(struct.pack("qqqq", 0, 20_000_000, 0, 20_000_000))
    ask(LIBC.timerfd_settime(timer, 0, every, None), "timerfd_settime")
    ticks = []

    def work():
        while True:
            ticks.append(os.read(timer, 8))
    threading.Thread(target=work, daemon=True).start()

    def check():
        before = len(ticks)
        wait_until(lambda: len(ticks) > before + 1)
    return check


@feature
def interval_timers():
    ticks = {signal.SIGALRM: 0, signal.SIGUSR2: 0}
    for number in ticks:
        signal.signal(number, lambda n, _: ticks.update({n: ticks[n] + 1}))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    timer = ctypes.c_void_p()
    event = ctypes.create_string_buffer(struct.pack("Qii48x", 0, signal.SIGUSR2, 0))
    ask(LIBC.timer_create(1, event, ctypes.byref(timer)), "timer_create")
    every = ctypes.create_string_buffer(struct.pack("qqqq", 0, 20_000_000, 0, 20_000_000))
    ask(LIBC.timer_settime(timer, 0, every, None), "timer_settime")

    def check():
        before = dict(ticks)
        wait_until(lambda: all(ticks[number] > before[number] + 1 for number in ticks))
    return check


@feature
def shared_memory():
    """Between a process and its child: anonymous, and a POSIX one whose name is gone."""
    anonymous = mmap.mmap(-1, 4096)
    with open(f"/dev/shm/snapstore-{os.path.basename(os.getcwd())}", "w+b") as file:
        file.truncate(4096)
        named = mmap.mmap(file.fileno(), 4096)
        os.unlink(file.name)
    if os.fork() == 0:
        while True:
            for memory in (anonymous, named):
                memory[1] = memory[0]
            time.sleep(0.002)

    def check():
        for memory in (anonymous, named):
            memory[0] = 77
            wait_until(lambda memory=memory: memory[1] == 77)
    return check


@feature
def system_v():
    memory = ask(LIBC.shmget(79, 8192, IPC_CREATE), "shmget")
    address = ask(LIBC.shmat(memory, None, 0), "shmat")
    ctypes.memmove(address, b"hello", 5)
    idle = ask(LIBC.shmget(80, 8192, IPC_CREATE), "shmget")
    semaphores = ask(LIBC.semget(77, 2, IPC_CREATE), "semget")
    ask(LIBC.semop(semaphores, struct.pack("Hhh", 1, 5, 0x1000), 1), "semop")
    queue = ask(LIBC.msgget(77, IPC_CREATE), "msgget")
    ask(LIBC.msgsnd(queue, struct.pack("l8s", 1, b"message"), 8, 0), "msgsnd")

    def check():
        assert ctypes.string_at(address, 5) == b"hello"
        assert LIBC.shmget(79, 8192, 0) == memory
        assert ask(LIBC.shmat(idle, None, 0), "shmat")
        assert LIBC.semctl(semaphores, 1, 12, 0) == 5
        message = ctypes.create_string_buffer(16)
        assert LIBC.msgrcv(queue, message, 8, 0, IPC_NOWAIT) == 8
        assert message.raw[8:15] == b"message"
    return check


@feature
def signals():
    got = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    queued = signal.SIGRTMIN + 1
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, queued])
    os.kill(os.getpid(), signal.SIGUSR1)
    for value in (5, 6):
        ask(LIBC.sigqueue(os.getpid(), queued, ctypes.c_void_p(value)), "sigqueue")
    read = ask(LIBC.signalfd(-1, ctypes.create_string_buffer(
        struct.pack("Q", 1 << (queued - 1)) + bytes(120)), os.O_NONBLOCK), "signalfd")

    def check():
        assert signal.sigpending() == {signal.SIGUSR1, queued}
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        values = [struct.unpack_from("i", os.read(read, 128), 44)[0] for _ in range(2)]
        assert values == [5, 6], values
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        assert got == [1]
    return check


@feature
def internet_sockets():
    listener = socket.create_server(("127.0.0.1", 0))
    under_way = socket.create_connection(listener.getsockname())
    listener6 = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))

    def check():
        assert under_way.fileno() >= 0
        for port in (listener.getsockname()[1], listener6.getsockname()[1]):
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(b"x")
        udp.sendto(b"d", udp.getsockname())
        udp.settimeout(5)
        assert udp.recv(1) == b"d"
    return check


@feature
def packet_sockets():
    packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packet.bind(("lo", 3))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    routes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    routes.bind((0, 0))

    def check():
        packet.settimeout(5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", ("127.0.0.1", 9))
        assert packet.recv(100)
        assert raw.getsockname()
        routes.settimeout(5)
        routes.send(struct.pack("IHHIIB3x", 20, 18, 0x301, 1, 0, 0))
        assert routes.recv(10_000)
    return check


@feature
def pidfd():
    started = child()
    handle = os.pidfd_open(started)

    def check():
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        assert os.waitid(os.P_PIDFD, handle, os.WEXITED).si_pid == started
    return check


def state_of(pid):
    """A letter, as in proc(5)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


@feature
def process_tree():
    """Groups, sessions, one that stands still, one that has ended, one whose parent is gone."""
    ended = os.fork()
    if ended == 0:
        os._exit(3)
    session = child(os.setsid)
    group = child(lambda: os.setpgid(0, 0))
    stopped = child()
    os.kill(stopped, signal.SIGSTOP)
    prctl(36, 1, 0, 0, 0)  # orphans come here
    between = os.fork()
    if between == 0:
        child()
        os._exit(0)
    os.waitpid(between, 0)
    before = os.getpid()
    wait_until(lambda: (state_of(ended), state_of(stopped)) == ("Z", "T"))

    def check():
        assert os.getpid() == before
        assert (os.getsid(session), os.getpgid(group)) == (session, group)
        wait_until(lambda: state_of(stopped) == "T")
        assert os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1]) == 3
        for pid in (session, group, stopped):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with open(f"/proc/self/task/{before}/children", encoding="utf-8") as file:
            assert len(file.read().split()) == 1
    return check


@feature
def threads():
    go, results = threading.Event(), []

    def work(number):
        if number == 1:
            LIBC.syscall(117, -1, 12345, -1)  # setresuid, of this thread
        prctl(15, ctypes.c_char_p(f"thread{number}".encode()))
        go.wait()
        own = f"/proc/self/task/{threading.get_native_id()}/"
        with open(own + "comm", encoding="utf-8") as comm:
            results.append(comm.read().strip())
    all_threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(20)
                   if n != 1 or can_change_user()]
    for thread in all_threads:
        thread.start()

    def check():
        go.set()
        for thread in all_threads:
            thread.join(5)
        assert len(results) == len(all_threads), results
        assert "thread7" in results
    return check


def can_change_user():
    """CRIU cannot dump that without CAP_SYS_RESOURCE (24)."""
    with open("/proc/self/status", encoding="utf-8") as file:
        line, = [one for one in file if one.startswith("CapEff:")]
    return int(line.split()[1], 16) >> 24 & 1


@feature
def attributes():
    os.umask(0o027)
    os.nice(5)
    os.setgroups([1, 2, 3])
    prctl(24, 20, 0, 0, 0)  # drops a capability
    prctl(38, 1, 0, 0, 0)   # no new privileges
    prctl(41, 1, 0, 0, 0)   # no huge pages
    resource.setrlimit(resource.RLIMIT_NOFILE, (555, 666))
    with open("/proc/self/oom_score_adj", "w", encoding="utf-8") as file:
        file.write("300")
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    policy = os.sched_getscheduler(0)
    clock = time.monotonic()
    folder = os.getcwd()

    def check():
        assert os.umask(0) == 0o027
        assert (os.nice(0), sorted(os.getgroups())) == (5, [1, 2, 3])
        assert (LIBC.prctl(23, 20, 0, 0, 0), LIBC.prctl(39, 0, 0, 0, 0),
                LIBC.prctl(42, 0, 0, 0, 0)) == (0, 1, 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (555, 666)
        with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
            assert file.read().strip() == "300"
        assert os.sched_getscheduler(0) == policy
        assert clock <= time.monotonic() < clock + 60
        assert os.getcwd() == folder
    return check


@feature
def seccomp():
    """setpgid(2) is refused."""
    words = struct.pack("HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, 109, 6, 0, 0, 0x00050001,
                        6, 0, 0, 0x7fff0000)
    program = ctypes.create_string_buffer(words)
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(program)))
    prctl(38, 1, 0, 0, 0)
    prctl(22, 2, filter_)

    def check():
        try:
            os.setpgid(0, 0)
        except PermissionError:
            return
        raise AssertionError("the filter is gone")
    return check


@feature
def host_name():
    unshare(0x4000000)
    socket.sethostname("another")

    def check():
        assert socket.gethostname() == "another"
    return check


@feature
def mappings():
    """Guard pages, memory that may be dropped, that a child finds empty, that is locked."""
    guarded = map_pages(3 * 4096, MAP_PRIVATE | MAP_ANONYMOUS)
    ctypes.memset(guarded, 1, 3 * 4096)
    ask(LIBC.madvise(ctypes.c_void_p(guarded + 4096), 4096, 102), "guard pages")
    droppable = map_pages(8192, MAP_DROPPABLE | MAP_ANONYMOUS)
    wiped = map_pages(8192, MAP_PRIVATE | MAP_ANONYMOUS)
    ask(LIBC.madvise(ctypes.c_void_p(wiped), 8192, 18), "MADV_WIPEONFORK")
    locked = map_pages(8192, MAP_PRIVATE | MAP_ANONYMOUS)
    ask(LIBC.mlock(ctypes.c_void_p(locked), 8192), "mlock")
    sparse = map_pages(1 << 36, MAP_PRIVATE | MAP_ANONYMOUS | 0x4000)
    ctypes.memset(sparse + (1 << 35), 9, 1)

    def flags(address):
        with open("/proc/self/smaps", encoding="utf-8") as file:
            own = file.read().split(f"{address:x}-", 1)[1]
        return own.split("VmFlags:", 1)[1].split("\n", 1)[0].split()

    def check():
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            ctypes.memset(guarded + 4096, 1, 1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] & 0x7f == signal.SIGSEGV
        assert ctypes.string_at(guarded + 8192, 1) == b"\1"
        assert "dp" in flags(droppable) and "wf" in flags(wiped) and "lo" in flags(locked)
        assert ctypes.string_at(sparse + (1 << 35), 2) == b"\x09\0"
    return check


@feature
def asynchronous_io():
    context = ctypes.c_ulong(0)
    call("io_setup", 8, ctypes.byref(context))

    def check():
        assert LIBC.syscall(207, context) == 0
    return check


if __name__ == "__main__":
    main(feature)
