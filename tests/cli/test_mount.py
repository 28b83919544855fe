"""`snapstore mount`: what a snapshot holds, as a file system."""

import errno
import os
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

import compare
import harness
import mounting

MIB = 1 << 20


@unittest.skipUnless(mounting.HAVE_FUSE, mounting.NEEDS_FUSE)
class Mount(mounting.MountTest):

    def make_tree(self):
        """One of everything that a restore brings back."""
        self.write("plain", self.random.randbytes(70_001))
        self.write("empty", b"")
        self.write("dir/nested/deep", b"deep")
        self.write(b"name \n\xff\x01".decode("utf-8", "surrogateescape"), b"odd")
        sparse = self.write("sparse", b"")
        with open(sparse, "r+b") as f:
            for at in (3 * MIB, 9 * MIB):
                f.seek(at)
                f.write(self.random.randbytes(300_000))
            f.truncate(20 * MIB)
        os.link(os.path.join(self.src, "plain"), os.path.join(self.src, "dir/hard"))
        os.symlink("dir/nested", os.path.join(self.src, "link"))
        os.symlink(b"\xfe/nowhere", os.path.join(os.fsencode(self.src), b"dangling"))
        os.mkfifo(os.path.join(self.src, "fifo"))
        os.mknod(os.path.join(self.src, "null"), stat.S_IFCHR | 0o640, os.makedev(1, 3))
        os.mknod(os.path.join(self.src, "disk"), stat.S_IFBLK | 0o600, os.makedev(7, 200))
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.src, "sock"))
        os.setxattr(os.path.join(self.src, "plain"), "user.colour", b"gr\x00\xffn")
        os.setxattr(os.path.join(self.src, "dir"), "trusted.note", b"n" * 3000)
        harness.run_tool("setfacl", "-m", "u:65534:rwx", os.path.join(self.src, "empty"))
        os.chmod(os.path.join(self.src, "dir/nested/deep"), 0o4711)
        os.chown(os.path.join(self.src, "empty"), 1234, 4321)
        os.utime(os.path.join(self.src, "dir/nested"), ns=(1, 1_234_567_890_123_456_789))
        os.utime(os.path.join(self.src, "empty"), ns=(1, -1_500_000_000))

    def test_shows_everything_that_a_restore_brings_back(self):
        self.make_tree()
        self.snapshot()
        process = self.mount()
        compare.assert_same_tree(self, self.src, self.inside())
        info = os.stat(os.path.join(self.inside(), "sparse"))
        self.assertLess(info.st_blocks * 512, 2 * MIB)
        self.assertGreaterEqual(info.st_blocks * 512, 600_000)
        copy = self.target("copy")
        harness.run_tool("cp", "-a", "--sparse=auto", self.inside(), copy)
        compare.assert_same_tree(self, self.src, copy)
        for attempt in (lambda: open(os.path.join(self.inside(), "new"), "w"),
                        lambda: os.unlink(os.path.join(self.inside(), "plain")),
                        lambda: open(os.path.join(self.inside(), "plain"), "r+")):
            with self.assertRaises(OSError) as raised:
                attempt()
            self.assertEqual(raised.exception.errno, errno.EROFS)
        with self.assertRaises(OSError):  # nodev
            open(os.path.join(self.inside(), "null"), "rb").close()
        self.stop(process)

    def test_names_each_snapshot_by_id_time_and_host(self):
        first = self.snapshot("--host", "alpha", self.src)["snapshot_id"]
        self.write("f", b"second")
        second = self.snapshot("--host", "be/ta", self.src)["snapshot_id"]
        process = self.mount()
        self.assertEqual(sorted(os.listdir(self.mnt)), ["by-time", "hosts", "ids", "latest"])
        self.assertEqual(sorted(os.listdir(f"{self.mnt}/ids")),
                         sorted([first[:16], second[:16]]))
        self.assertEqual(os.readlink(f"{self.mnt}/latest"), f"ids/{second[:16]}")
        self.assertEqual(sorted(os.listdir(f"{self.mnt}/hosts")), ["alpha", "be%2Fta"])
        self.assertEqual(os.readlink(f"{self.mnt}/hosts/alpha/latest"), f"../../ids/{first[:16]}")
        times = os.listdir(f"{self.mnt}/by-time")
        self.assertEqual(len(set(times)), 2)
        for name in times:
            self.assertRegex(name, r"\A\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-[0-9a-f]{8})?\Z")
        found = {os.readlink(f"{self.mnt}/by-time/{name}"): name for name in times}
        self.assertEqual(set(found), {f"../ids/{first[:16]}", f"../ids/{second[:16]}"})
        self.assertEqual(self.read(self.inside(f"{self.src}/f", f"ids/{second}")), b"second")
        self.assertFalse(os.path.exists(self.inside(f"{self.src}/f", f"ids/{first}")))
        self.assertFalse(os.path.exists(f"{self.mnt}/ids/{'0' * 16}"))
        # One that comes while it is mounted, and one that goes.
        third = self.snapshot()["snapshot_id"]
        self.wait_for(lambda: third[:16] in os.listdir(f"{self.mnt}/ids"), what="the new snapshot")
        self.wait_for(lambda: os.readlink(f"{self.mnt}/latest") == f"ids/{third[:16]}")
        os.unlink(os.path.join(self.repo, "snapshots", first))
        self.wait_for(lambda: not os.path.exists(f"{self.mnt}/ids/{first[:16]}"),
                      what="the old snapshot to vanish")
        self.assertEqual(os.listdir(f"{self.mnt}/hosts/be%2Fta"),
                         ["latest", found[f"../ids/{second[:16]}"]])
        self.stop(process)

    def test_ranges_at_random_by_many_readers_at_once(self):
        data = bytearray(self.random.randbytes(24 * MIB))
        data[5 * MIB:9 * MIB] = bytes(4 * MIB)
        data[12 * MIB:13 * MIB] = b"\7" * MIB
        self.write("big", data)
        self.snapshot()
        process = self.mount()
        path = os.path.join(self.inside(), "big")
        wrong = []

        def read_some(seed):
            random = harness.random.Random(seed)
            fd = os.open(path, os.O_RDONLY)
            try:
                if seed % 4 == 0:  # one that reads it all
                    for at in range(0, len(data), MIB):
                        if os.pread(fd, MIB, at) != data[at:at + MIB]:
                            wrong.append((seed, at))
                for _ in range(120):
                    at = random.randrange(len(data))
                    size = random.choice((1, 4096, 65536, random.randrange(2 * MIB)))
                    if os.pread(fd, size, at) != data[at:at + size]:
                        wrong.append((seed, at, size))
                    if random.random() < 0.2:
                        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)

        threads = [threading.Thread(target=read_some, args=(self.seed + i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [], f"seed {self.seed}")
        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        self.assertEqual(os.pread(fd, 10, len(data)), b"")
        # A chunk may begin with the last of the zeros.
        self.assertLessEqual(os.lseek(fd, 6 * MIB, os.SEEK_DATA), 9 * MIB)
        self.assertGreater(os.lseek(fd, 6 * MIB, os.SEEK_DATA), 9 * MIB - 65536)
        self.assertLess(os.lseek(fd, 0, os.SEEK_HOLE), 5 * MIB + 70_000)
        with self.assertRaises(OSError) as raised:
            os.lseek(fd, len(data), os.SEEK_DATA)
        self.assertEqual(raised.exception.errno, errno.ENXIO)
        self.stop(process)  # busy: the descriptor is still open

    def test_damage_is_an_error_of_the_files_it_hits_and_is_named(self):
        for i in range(12):
            self.write(f"f{i}", self.random.randbytes(2 * MIB))
        self.snapshot()
        packs = [os.path.join(folder, name)
                 for folder, _, names in os.walk(os.path.join(self.repo, "data")) for name in names]
        pack = max(packs, key=os.path.getsize)
        os.chmod(pack, 0o644)
        with open(pack, "r+b") as f:
            f.seek(os.path.getsize(pack) // 2)
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 1]))
        self.mount()
        failed = []
        for i in range(12):
            try:
                self.assertEqual(self.read(f"{self.inside()}/f{i}"), self.read(f"{self.src}/f{i}"))
            except OSError as error:
                self.assertEqual(error.errno, errno.EIO)
                failed.append(f"f{i}")
        self.assertIn(len(failed), (1, 2))
        log = self.log().splitlines()
        self.assertEqual(len(log), len(failed), log)
        for name, line in zip(failed, log):
            self.assertIn(f"{self.src.lstrip('/')}/{name}", line)
            self.assertIn("Corruption", line)

    def test_a_damaged_snapshot_is_named_and_left_out(self):
        lost = self.snapshot()["snapshot_id"]
        kept = self.snapshot()["snapshot_id"]
        path = os.path.join(self.repo, "snapshots", lost)
        os.chmod(path, 0o644)
        with open(path, "r+b") as f:
            f.seek(30)
            f.write(b"\xff\xfe")
        self.mount()
        self.assertEqual(os.listdir(f"{self.mnt}/ids"), [kept[:16]])
        self.assertIn(lost, self.log())

    def test_a_directory_of_many_entries_within_the_memory_limit(self):
        names = [f"{i:06d}-{'x' * (i % 40)}" for i in range(100_000)]
        os.mkdir(os.path.join(self.src, "many"))
        for name in names:
            os.mknod(os.path.join(self.src, "many", name))
        self.write("many-after", b"behind it")
        self.write("other", self.random.randbytes(64 * MIB))
        self.snapshot()
        process = self.mount("--memory-limit", "64M")
        self.assertEqual(sorted(os.listdir(self.inside())), ["many", "many-after", "other"])
        begin = time.monotonic()
        self.assertEqual(sorted(os.listdir(f"{self.inside()}/many")), names)
        sizes = sum(entry.stat().st_size for entry in os.scandir(f"{self.inside()}/many"))
        self.assertEqual(sizes, 0)
        print(f"two listings of 100 000 entries, one with attributes: {time.monotonic() - begin:.1f} s")
        for name in self.random.sample(names, 50):
            self.assertTrue(stat.S_ISREG(os.stat(f"{self.inside()}/many/{name}").st_mode))
            self.assertFalse(os.path.exists(f"{self.inside()}/many/{name}-"))
        # Two readers from front to back and one at random, with nothing kept by the kernel.
        feeds = [subprocess.Popen(["cat", f"{self.inside()}/other"], stdout=subprocess.DEVNULL)
                 for _ in range(2)]
        fd = os.open(f"{self.inside()}/other", os.O_RDONLY)
        for _ in range(300):
            os.pread(fd, 4096, self.random.randrange(64 * MIB))
        os.close(fd)
        for feed in feeds:
            self.assertEqual(feed.wait(60), 0)
        with open(f"/proc/{process.pid}/status") as f:
            peak = [int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM")][0]
        print(f"peak memory with --memory-limit 64M: {peak / MIB:.0f} MiB")
        self.assertLess(peak, 64 * MIB)
        self.stop(process)

    def test_a_volume_can_be_mounted_in_turn(self):
        tree = self.target("tree")
        for i in range(60):
            self.write(f"d{i % 5}/f{i}", self.random.randbytes(self.random.randrange(90_000)), root=tree)
        image = self.target("volume.img")
        with open(image, "wb") as f:
            f.truncate(48 * MIB)
        harness.run_tool("mkfs.ext4", "-q", "-F", "-d", tree, image)
        device = harness.run_tool("losetup", "--find", "--show", image).decode().strip()
        self.addCleanup(harness.run_tool, "losetup", "--detach", device)
        self.snapshot(device)
        process = self.mount()
        volume = self.inside(device)
        self.assertTrue(stat.S_ISREG(os.stat(volume).st_mode))
        self.assertEqual(os.stat(volume).st_size, 48 * MIB)
        inner = self.target("inner")
        os.mkdir(inner)
        harness.run_tool("mount", "-o", "ro,loop,noload", volume, inner)
        try:
            for folder, _, files in os.walk(tree):
                for name in files:
                    path = os.path.join(folder, name)
                    self.assertEqual(self.read(os.path.join(inner, os.path.relpath(path, tree))),
                                     self.read(path))
        finally:
            harness.run_tool("umount", inner)
        self.stop(process)


@unittest.skipUnless(mounting.HAVE_FUSE, mounting.NEEDS_FUSE)
class EncryptedMount(mounting.MountTest):
    make_repository = False

    def environment(self):
        key = {"SNAPSTORE_KEY_FILE": self.key_file} if self.key_file else {}
        return {**super().environment(), **key}

    def setUp(self):
        self.key_file = ""
        super().setUp()
        key_file = self.target("repo.key")
        self.ok("init", "--encrypt", "--new-key-file", key_file)
        self.key_file = key_file

    def test_an_encrypted_repository_is_mounted_with_its_key_only(self):
        self.write("big", self.random.randbytes(3 * MIB))
        self.write("dir/small", b"small")
        self.snapshot()
        process = self.mount()
        compare.assert_same_tree(self, self.src, self.inside())
        self.stop(process)
        self.key_file = self.write("other.key", self.random.randbytes(64), root=self.dir)
        self.one_line_error(12, "mount", self.mnt)
        self.assertFalse(self.mounted())


if __name__ == "__main__":
    harness.main()
