"""Small programs that check, after a restore, that their files are as they were."""

import ctypes
import fcntl
import mmap
import os
import pty
import shutil
import struct
import subprocess

from feature import Features, child, main, wait_until
from kernel import LIBC, ask, call

feature = Features()


@feature
def fifo():
    os.mkfifo("fifo")
    door = os.open("fifo", os.O_RDWR)
    os.write(door, b"x")

    def check():
        other = os.open("fifo", os.O_WRONLY)
        os.write(other, b"y")
        assert os.read(door, 10) == b"xy"
    return check


@feature
def memfd():
    memory = os.memfd_create("memory", os.MFD_ALLOW_SEALING)
    os.write(memory, b"content")
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    mapped = mmap.mmap(memory, 7)

    def check():
        mapped[0:1] = b"C"
        assert os.pread(memory, 10, 0) == b"Content"
        assert fcntl.fcntl(memory, fcntl.F_GET_SEALS) == fcntl.F_SEAL_GROW
    return check


@feature
def deleted_files():
    file = os.open("file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"content")
    os.unlink("file")
    unnamed = os.open(".", os.O_RDWR | os.O_TMPFILE)
    os.write(unnamed, b"unnamed")
    os.makedirs("folder/below")
    inside = os.open("folder/below/file", os.O_RDWR | os.O_CREAT)
    os.write(inside, b"inside")
    shutil.rmtree("folder")
    with open("replaced", "w", encoding="utf-8") as old:
        old.write("old")
    replaced = os.open("replaced", os.O_RDONLY)
    with open("new", "w", encoding="utf-8") as new:
        new.write("new")
    os.rename("new", "replaced")

    def check():
        for descriptor, text in ((file, b"content"), (unnamed, b"unnamed"), (inside, b"inside"),
                                 (replaced, b"old")):
            assert os.pread(descriptor, 20, 0) == text
            assert os.fstat(descriptor).st_nlink == 0
        with open("replaced", encoding="utf-8") as there:
            assert there.read() == "new"
    return check


@feature
def removed_folders():
    os.makedirs("open")
    folder = os.open("open", os.O_RDONLY)
    os.rmdir("open")
    started = child(lambda: (os.mkdir("here"), os.chdir("here"), os.rmdir("../here")))

    def check():
        assert os.fstat(folder)
        assert os.readlink(f"/proc/{started}/cwd").endswith("here (deleted)")
    return check


@feature
def deleted_program():
    shutil.copy("/bin/sleep", "program")
    # pylint: disable-next=consider-using-with
    started = subprocess.Popen(["./program", "1000"])
    wait_until(lambda: os.readlink(f"/proc/{started.pid}/exe").endswith("/program"))
    os.unlink("program")

    def check():
        assert started.poll() is None
        started.kill()
    return check


@feature
def watches():
    os.mkdir("watched")
    with open("gone", "w", encoding="utf-8"):
        pass
    gone = os.open("gone", os.O_RDWR)
    inotify = LIBC.inotify_init1(os.O_NONBLOCK)
    ask(LIBC.inotify_add_watch(inotify, b"watched", 0x100), "inotify_add_watch")
    other = LIBC.inotify_init1(os.O_NONBLOCK)
    ask(LIBC.inotify_add_watch(other, b"gone", 2), "inotify_add_watch")
    os.unlink("gone")

    def check():
        with open("watched/new", "w", encoding="utf-8"):
            pass
        assert b"new" in os.read(inotify, 1000)
        os.write(gone, b"x")
        assert os.read(other, 1000)
    return check


@feature
def fanotify():
    os.mkdir("watched")
    group = call("fanotify_init", 2, 0)
    closed = ctypes.c_uint64(0x8 | 0x08000000)
    ask(LIBC.fanotify_mark(group, 1, closed, -100, b"watched"), "fanotify_mark")

    def check():
        with open("watched/new", "w", encoding="utf-8"):
            pass
        assert len(os.read(group, 100)) >= 24
    return check


@feature
def locks():
    names = ("whole", "record", "description", "lease")
    files = {name: os.open(name, os.O_RDWR | os.O_CREAT) for name in names[:3]}
    fcntl.flock(files["whole"], fcntl.LOCK_EX)
    fcntl.lockf(files["record"], fcntl.LOCK_EX, 10, 5)
    exclusive = struct.pack("hhqqi4x", 1, 0, 0, 0, 0)
    fcntl.fcntl(files["description"], 37, exclusive)
    lease = os.open("lease", os.O_RDONLY | os.O_CREAT)
    fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK)

    def refused(work):
        try:
            work()
        except BlockingIOError:
            return True
        return False

    def check():
        others = {name: os.open(name, os.O_RDWR) for name in names[:3]}
        assert refused(lambda: fcntl.flock(others["whole"], fcntl.LOCK_EX | fcntl.LOCK_NB))
        assert refused(lambda: fcntl.fcntl(others["description"], 37, exclusive))
        pid = os.fork()
        if pid == 0:
            work = lambda: fcntl.lockf(others["record"], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 7)
            os._exit(0 if refused(work) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert fcntl.fcntl(lease, fcntl.F_GETLEASE) == fcntl.F_RDLCK
    return check


@feature
def root_folder():
    with open("inside", "w", encoding="utf-8"):
        pass
    os.chroot(".")
    return lambda: os.stat("/inside")


@feature
def own_terminal():
    """With both ends here."""
    master, slave = pty.openpty()
    return_size = struct.pack("HHHH", 33, 44, 0, 0)
    fcntl.ioctl(slave, 0x5414, return_size)

    def check():
        assert fcntl.ioctl(master, 0x5413, bytes(8)) == return_size
        os.write(slave, b"after\n")
        text = b""
        while b"after" not in text:
            text += os.read(master, 100)
    return check


@feature
def file_positions():
    with open("file", "w", encoding="utf-8") as file:
        file.write("0123456789")
    descriptor = os.open("file", os.O_RDWR)
    os.lseek(descriptor, 4, os.SEEK_SET)
    twin = os.dup(descriptor)
    appended = os.open("file", os.O_WRONLY | os.O_APPEND)
    path_only = os.open("file", os.O_PATH)
    folder = os.open(".", os.O_RDONLY)

    def check():
        assert os.read(twin, 1) == b"4" and os.read(descriptor, 1) == b"5"
        os.write(appended, b"x")
        assert os.fstat(path_only).st_size == 11
        assert os.stat("file", dir_fd=folder).st_size == 11
    return check


if __name__ == "__main__":
    main(feature)
