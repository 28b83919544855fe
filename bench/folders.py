"""Inputs that are a folder: CRIU's images of a Redis server, and a tree of small files."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time

import inputs


def listing(root):
    """Mode by path, for all files and folders below `root` and itself."""
    modes = {".": os.lstat(root).st_mode}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            modes[os.path.relpath(path, root)] = os.lstat(path).st_mode
    return modes


class Folder(inputs.Versions):
    """Versions that are a folder each. They are compared by names, modes and bytes."""

    def place(self, version):
        shutil.rmtree(self.live, ignore_errors=True)
        self.copy(version, self.live)
        self.current = version
        return self.live

    def files(self, version):
        root = self.versions[version]
        return [name for name, mode in listing(root).items() if stat.S_ISREG(mode)]

    def touch(self):
        for name in self.files(self.current):
            os.utime(os.path.join(self.live, name))

    def sizes(self):
        stats = [os.stat(os.path.join(self.versions[1], name)) for name in self.files(1)]
        return (sum(each.st_size for each in stats),
                sum(min(each.st_size, each.st_blocks * 512) for each in stats))

    def verify(self, restored, left_over=False):
        wanted, found = listing(self.versions[self.current]), listing(restored)
        if left_over:
            for name in listing(self.versions[0]).keys() - wanted.keys():
                found.pop(name, None)
        for name in sorted(wanted.keys() ^ found.keys()):
            self.refuse(os.path.join(restored, name))
        for name, mode in wanted.items():
            path = os.path.join(restored, name)
            if found[name] != mode or (stat.S_ISREG(mode) and not inputs.same_bytes(
                    path, os.path.join(self.versions[self.current], name))):
                self.refuse(path)


class Tree(Folder):
    """Small files of /usr. In the second version some were edited, removed and added.

    Version 1 shares what did not change with version 0 as hard links, so inodes tell what did.
    """

    name = "tree"
    FILE_BYTES_MAX = 64 << 10

    def title(self, options):
        return f"{self.name}-{options.files}-files-seed-{options.seed}"

    def make(self, folder, rng, options):
        first, second = (os.path.join(folder, f"version-{number}") for number in (0, 1))
        added = inputs.part(range(options.files), inputs.ADDED_SHARE)
        chosen = self.choose(options.files + added, rng)
        old, new = chosen[added:], chosen[:added]
        for source, number in old:
            self.write(first, source, number)
        inputs.run("cp", "-al", first, second)
        removed = rng.sample(old, inputs.part(old, inputs.REMOVED_SHARE))
        for source, number in removed:
            os.unlink(self.target(second, source, number))
        kept = sorted(set(old) - set(removed))
        for source, number in rng.sample(kept, inputs.part(kept, inputs.EDITED_SHARE)):
            path = self.target(second, source, number)
            data, mode = inputs.read(path), os.stat(path).st_mode
            os.unlink(path)  # the other version keeps its bytes
            self.put(path, inputs.edited(data, rng), mode)
        for source, number in new:
            self.write(second, source, number)

    def choose(self, count, rng):
        """`count` pairs of a file in /usr and a number: 0, or which repetition of it this is."""
        found = [path for path, size in inputs.usr_files() if size <= self.FILE_BYTES_MAX]
        rng.shuffle(found)
        return [(found[at % len(found)], at // len(found)) for at in range(count)]

    @staticmethod
    def target(root, source, number):
        suffix = f"~{number}" if number else ""
        return os.path.join(root, f"usr{suffix}", os.path.relpath(source, "/usr"))

    def write(self, root, source, number):
        """Copies a file; a repetition of it gets a suffix, so that it is not the same bytes."""
        data = inputs.read(source) + (b"~%d\n" % number if number else b"")
        self.put(self.target(root, source, number), data, os.stat(source).st_mode)

    @staticmethod
    def put(path, data, mode):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode & 0o777)

    def place(self, version):
        """Leaves files that are the same in both versions alone, as an application would."""
        if self.current is None:
            return super().place(version)
        for name in self.changed() if version != self.current else ():
            source = os.path.join(self.versions[version], name)
            target = os.path.join(self.live, name)
            if os.path.exists(source):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(source, target)
                shutil.copymode(source, target)
            else:
                self.remove(target, self.versions[version])
        self.current = version
        return self.live

    def remove(self, path, version):
        """Removes a file, and the folders above it that `version` does not have."""
        os.unlink(path)
        folder = os.path.dirname(path)
        while not os.path.isdir(os.path.join(version, os.path.relpath(folder, self.live))):
            os.rmdir(folder)
            folder = os.path.dirname(folder)

    def changed(self):
        """Names of files that the versions do not share."""
        inodes = [{name: os.stat(os.path.join(self.versions[version], name)).st_ino
                   for name in self.files(version)} for version in (0, 1)]
        return [name for name in inodes[0].keys() | inodes[1].keys()
                if inodes[0].get(name) != inodes[1].get(name)]


class Redis(Folder):
    """CRIU's images of a Redis server, dumped twice with writes between."""

    name = "redis"
    WRITTEN_SHARE = 0.02
    BATCH = 1000

    def title(self, options):
        return f"{self.name}-{options.keys}-keys-seed-{options.seed}"

    def make(self, folder, rng, options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        criu = os.environ.get("SNAPSTORE_CRIU", shutil.which("criu") or "/opt/snapstore/bin/criu")
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--dir", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=True, start_new_session=True)
        keys = range(options.keys)
        try:
            with self.connect(port) as client:
                self.fill(client, rng, keys)
                self.dump(criu, server.pid, os.path.join(folder, "version-0"))
                self.fill(client, rng, rng.sample(keys, inputs.part(keys, self.WRITTEN_SHARE)))
                self.dump(criu, server.pid, os.path.join(folder, "version-1"))
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()

    @staticmethod
    def connect(port):
        for _ in range(100):
            try:
                return socket.create_connection(("127.0.0.1", port))
            except OSError:
                time.sleep(0.05)
        raise ValueError("redis-server does not answer")

    def fill(self, client, rng, keys):
        """Sets the keys to new values, half text, half noise: compressible in part."""
        replies = client.makefile("rb")
        for begin in range(0, len(keys), self.BATCH):
            batch = keys[begin:begin + self.BATCH]
            for key in batch:
                name = f"key:{key}".encode()
                value = (f"customer {key} ".encode() * 20) + rng.randbytes(300)
                client.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
                               % (len(name), name, len(value), value))
            for _ in batch:
                replies.readline()

    @staticmethod
    def dump(criu, pid, folder):
        os.mkdir(folder)
        inputs.run(criu, "dump", "-t", str(pid), "-D", folder, "--leave-running",
                   "--tcp-established", "--network-lock", "nftables",
                   "--manage-cgroups=ignore", "-o", "dump.log")
