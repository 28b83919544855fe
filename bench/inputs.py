"""Real inputs for the benchmark, made from this machine: two versions of each."""

import filecmp
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time


def _run(*args, **kwargs):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, **kwargs)


class ImagePair:
    """An ext4 image with files from /usr, and the same after 2 % of its files were edited."""

    EDITED_SHARE = 0.02

    def __init__(self, folder, rng, size_mib):
        self.folder = folder
        self.images = [os.path.join(folder, f"version-{i}-{size_mib}.img") for i in (0, 1)]
        self.live = os.path.join(folder, "volume.img")
        if not all(os.path.exists(image) for image in self.images):
            self._make(rng, size_mib)
        for image in self.images:  # into the page cache
            with open(image, "rb") as f:
                while f.read(1 << 22):
                    pass

    def _make(self, rng, size_mib):
        os.makedirs(self.folder, exist_ok=True)
        image, mount = self.images[0] + ".new", os.path.join(self.folder, "mnt")
        os.makedirs(mount, exist_ok=True)
        with open(image, "wb") as f:
            f.truncate(size_mib << 20)
        _run("mkfs.ext4", "-q", "-F", image)
        _run("mount", "-o", "loop", image, mount)
        try:
            files = self._fill(mount, int(size_mib * 0.85) << 20)
        finally:
            _run("umount", mount)
        second = self.images[1] + ".new"
        _run("cp", "--sparse=always", image, second)
        _run("mount", "-o", "loop", second, mount)
        try:
            for path in rng.sample(files, int(len(files) * self.EDITED_SHARE)):
                with open(os.path.join(mount, path), "r+b") as f:
                    f.seek(rng.randrange(max(1, os.fstat(f.fileno()).st_size)))
                    f.write(rng.randbytes(rng.randrange(1, 4096)))
        finally:
            _run("umount", mount)
        os.rename(image, self.images[0])
        os.rename(second, self.images[1])

    @staticmethod
    def _fill(mount, bytes_max):
        """Copies regular files from /usr until the image is full enough; returns their paths."""
        copied, total = [], 0
        for folder, folders, names in os.walk("/usr"):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                size = os.path.getsize(path)
                if total + size > bytes_max:
                    return copied
                target = os.path.join(mount, path.lstrip("/"))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(path, target)
                copied.append(path.lstrip("/"))
                total += size
        return copied

    def place(self, version):
        """Puts a version where every snapshot finds the volume, and returns that path."""
        self.current = version
        if os.path.exists(self.live):
            os.unlink(self.live)
        _run("cp", "--sparse=always", self.images[version], self.live)
        return self.live

    def touch(self):
        os.utime(self.live)

    def size(self):
        return os.path.getsize(self.images[1])

    def verify(self, restored):
        if not filecmp.cmp(restored, self.images[self.current], shallow=False):
            raise SystemExit(f"{restored} is not what was stored")


class RedisDumps:
    """CRIU's images of a Redis server, dumped twice with writes between."""

    KEYS = 200_000
    WRITES = 4_000

    def __init__(self, folder, rng, _size_mib):
        self.folder = folder
        self.dumps = [os.path.join(folder, f"dump-{i}") for i in (0, 1)]
        self.live = os.path.join(folder, "images")
        if not all(os.path.exists(os.path.join(d, "inventory.img")) for d in self.dumps):
            self._make(rng)

    def _make(self, rng):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        criu = os.environ.get("SNAPSTORE_CRIU", shutil.which("criu") or "/opt/snapstore/bin/criu")
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=True, start_new_session=True)
        try:
            with self._connect(port) as client:
                self._write(client, rng, range(self.KEYS))
                self._dump(criu, server.pid, self.dumps[0])
                self._write(client, rng, rng.sample(range(self.KEYS), self.WRITES))
                self._dump(criu, server.pid, self.dumps[1])
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()

    @staticmethod
    def _connect(port):
        for _ in range(100):
            try:
                return socket.create_connection(("127.0.0.1", port))
            except OSError:
                time.sleep(0.05)
        raise SystemExit("redis-server does not answer")

    @staticmethod
    def _write(client, rng, keys):
        replies = 0
        out = bytearray()
        stream = client.makefile("rb")
        for key in keys:
            # Half text, half noise: neither all compressible nor not at all.
            value = (f"customer {key} ".encode() * 20) + rng.randbytes(300)
            out += b"*3\r\n$3\r\nSET\r\n"
            name = f"key:{key}".encode()
            out += b"$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(name), name, len(value), value)
            replies += 1
            if replies % 1000 == 0:
                client.sendall(out)
                out.clear()
                for _ in range(1000):
                    stream.readline()
        client.sendall(out)
        for _ in range(replies % 1000):
            stream.readline()

    @staticmethod
    def _dump(criu, pid, folder):
        os.makedirs(folder)
        _run(criu, "dump", "-t", str(pid), "-D", folder, "--leave-running", "--tcp-established",
             "--network-lock", "nftables", "--manage-cgroups=ignore", "-o", "dump.log")

    def place(self, version):
        self.current = version
        shutil.rmtree(self.live, ignore_errors=True)
        shutil.copytree(self.dumps[version], self.live)
        return self.live

    def touch(self):
        for name in os.listdir(self.live):
            os.utime(os.path.join(self.live, name))

    def size(self):
        return sum(os.path.getsize(os.path.join(self.dumps[1], name))
                   for name in os.listdir(self.dumps[1]))

    def verify(self, restored):
        def digests(folder):
            return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest()
                    for name in sorted(os.listdir(folder))}
        if digests(restored) != digests(self.dumps[self.current]):
            raise SystemExit(f"{restored} is not what was stored")
