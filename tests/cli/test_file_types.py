"""Everything a tree can hold comes back as it was."""

import os
import socket
import stat
import unittest

import compare
import harness


class FileTypes(harness.CliTest):

    def round_trip(self, *extra):
        """Snapshot, restore, compare; returns the restored root."""
        expected = compare.scan(self.src)
        self.ok("-q", "snapshot", self.src)
        done = self.ok("restore", "latest", "--target", self.target(), *extra)
        self.assertEqual(done.err, b"")
        # Restoring or reading must not have touched the source.
        compare.assert_same_tree(self, expected, self.src)
        compare.assert_same_tree(self, expected, self.restored(self.src))

    def path(self, name):
        return os.path.join(self.src, name)

    def test_files_of_sizes_around_every_boundary(self):
        for size in (0, 1, 4095, 4096, 4097, 16384, 65535, 65536, 65537, 1 << 20, 5_000_001):
            self.write(f"size-{size}", self.random.randbytes(size))
        self.round_trip()

    def test_empty_directories_and_an_empty_tree(self):
        self.round_trip()
        os.makedirs(self.path("a/b/c"))
        os.makedirs(self.path("d"))
        harness.shutil.rmtree(self.target())
        self.round_trip()

    def test_symlinks_also_dangling_absolute_and_circular(self):
        for name, target in (("rel", "file"), ("dangling", "no/such"), ("abs", "/etc/passwd"),
                             ("loop", "loop"), ("up", "../../.."), ("long", "x" * 4000)):
            os.symlink(target, self.path(name))
        os.symlink(b"\xff\n", self.path("bytes"))
        os.utime(self.path("rel"), ns=(5, 1_000_000_000_000_000_123), follow_symlinks=False)
        self.write("file", b"x")
        self.round_trip()

    def test_hard_links_stay_one_file(self):
        self.write("a", b"shared" * 1000)
        os.makedirs(self.path("sub"))
        os.link(self.path("a"), self.path("sub/b"))
        os.link(self.path("a"), self.path("z"))
        os.symlink("t", self.path("s1"))
        os.link(self.path("s1"), self.path("s2"), follow_symlinks=False)
        os.mkfifo(self.path("p1"))
        os.link(self.path("p1"), self.path("p2"))
        self.round_trip()

    def test_sparse_files_keep_their_holes(self):
        block = 4096
        layouts = {"middle": (100 << 20, [(50 << 20, 3 * block)]), "only-hole": (10 << 20, []),
                   "head": (1 << 30, [(0, block)]), "tail": (1 << 30, [((1 << 30) - block, block)]),
                   "many": (64 << 20, [(i << 20, block) for i in range(0, 64, 2)]),
                   "unaligned-end": ((1 << 20) + 5, [(0, block)])}
        for name, (size, parts) in layouts.items():
            with open(self.path(name), "wb") as f:
                f.truncate(size)
                for offset, length in parts:
                    f.seek(offset)
                    f.write(bytes(self.random.randrange(1, 256) for _ in range(length)))
        summary = self.snapshot()
        self.assertLess(summary["bytes_read"], 4 << 20)
        self.round_trip()

    def test_written_zeros_come_back_as_zeros(self):
        self.write("zeros", bytes(1 << 20))
        self.write("mixed", b"a" * 5000 + bytes(300_000) + b"b" * 5000)
        self.snapshot()
        self.ok("restore", "latest", "--target", self.target())
        for name in ("zeros", "mixed"):
            self.assertEqual(self.read(self.restored(self.path(name))), self.read(self.path(name)))

    def test_extended_attributes_of_any_bytes(self):
        self.write("f", b"x")
        os.setxattr(self.path("f"), "user.text", b"value")
        os.setxattr(self.path("f"), "user.bytes", bytes(range(256)))
        os.setxattr(self.path("f"), "user.empty", b"")
        os.setxattr(self.path("f"), "user.large", self.random.randbytes(2500))
        os.makedirs(self.path("d"))
        os.setxattr(self.path("d"), "user.on-directory", b"1")
        if harness.IS_ROOT:
            os.symlink("f", self.path("l"))
            os.setxattr(self.path("l"), "trusted.on-link", b"2", follow_symlinks=False)
            os.setxattr(self.path("f"), "security.capability",
                        bytes.fromhex("0100000202000000000000000000000000000000"))
        self.round_trip()

    def test_access_control_lists(self):
        self.write("f", b"x")
        os.makedirs(self.path("d"))
        harness.run_tool("setfacl", "-m", "u:1234:rw,g:99:r", self.path("f"))
        harness.run_tool("setfacl", "-m", "u:1234:rwx", self.path("d"))
        harness.run_tool("setfacl", "-d", "-m", "u:77:rx", self.path("d"))
        # Inherits from the default list, and must not do so a second time when restored.
        self.write("d/inherits", b"y")
        self.assertIn("system.posix_acl_default", os.listxattr(self.path("d")))
        self.round_trip()

    def test_modes_with_setuid_setgid_and_sticky(self):
        for i, mode in enumerate((0o000, 0o400, 0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o6711, 0o7777)):
            os.chmod(self.write(f"f{i}", b"x"), mode)
            os.mkdir(self.path(f"d{i}"))
            os.chmod(self.path(f"d{i}"), mode)
        if harness.IS_ROOT:
            self.round_trip()

    @unittest.skipUnless(harness.IS_ROOT, "needs root to give files away")
    def test_owners_also_together_with_setuid(self):
        for i, (uid, gid) in enumerate(((0, 0), (1000, 1000), (65534, 65534), (4_000_000_000, 7))):
            path = self.write(f"f{i}", b"x")
            os.chown(path, uid, gid)
            os.chmod(path, 0o6755)
            os.symlink("f", self.path(f"l{i}"))
            os.chown(self.path(f"l{i}"), uid, gid, follow_symlinks=False)
        self.round_trip()

    def test_times_to_the_nanosecond_also_before_the_epoch(self):
        for i, ns in enumerate((0, 1, 999_999_999, 1_700_000_000_123_456_789, -1, -1_500_000_000,
                                4_294_967_296_000_000_001)):
            path = self.write(f"f{i}", b"x")
            os.utime(path, ns=(ns, ns))
            os.mkdir(self.path(f"d{i}"))
            self.write(f"d{i}/inside", b"y")
            os.utime(self.path(f"d{i}"), ns=(ns, ns))
        self.round_trip()

    def test_fifos_and_sockets(self):
        os.mkfifo(self.path("fifo"), 0o640)
        with socket.socket(socket.AF_UNIX) as server:
            here = os.getcwd()
            os.chdir(self.src)  # the name of a socket is limited to 107 bytes
            try:
                server.bind("socket")
            finally:
                os.chdir(here)
        self.round_trip()

    @unittest.skipUnless(harness.IS_ROOT, "needs root for mknod")
    def test_device_nodes_are_kept_as_nodes_inside_a_tree(self):
        os.mknod(self.path("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(self.path("block"), stat.S_IFBLK | 0o600, os.makedev(7, 200))
        os.mknod(self.path("large-minor"), stat.S_IFCHR | 0o600, os.makedev(4000, 1_000_000))
        self.round_trip()

    def test_names_of_any_bytes(self):
        root = os.fsencode(self.src)
        names = [bytes([b]) for b in range(1, 256) if b not in b"/."]
        names += [b"new\nline", b"\xff\xfe", b" lead", b"trail ", b"-dash", b"\\x41", b"...", b"x" * 255,
                  "e\u0301".encode(), "\u00e9".encode(), b"\x1b[31m"]
        for name in names:
            with open(os.path.join(root, b"f" + name[:254]), "wb") as f:
                f.write(name)
            os.makedirs(os.path.join(root, b"dirs", name), exist_ok=True)
        self.round_trip()
        # Each can be named on the command line as well.
        for name in (b"new\nline", b"\xff\xfe", b" lead"):
            out = self.ok("dump", "latest", os.path.join(root, b"f" + name)).out
            self.assertEqual(out, name)

    def test_paths_longer_than_path_max(self):
        fd = os.open(self.src, os.O_RDONLY)
        for level in range(30):
            name = f"{level:02}" + "d" * 198
            os.mkdir(name, dir_fd=fd)
            child = os.open(name, os.O_RDONLY, dir_fd=fd)
            leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=child)
            os.write(leaf, b"level %d" % level)
            os.close(leaf)
            os.close(fd)
            fd = child
        os.symlink("leaf", "link", dir_fd=fd)
        os.link("leaf", "hard", src_dir_fd=fd, dst_dir_fd=fd)
        os.mkfifo("fifo", dir_fd=fd)
        os.close(fd)
        self.round_trip()

    def test_a_directory_of_many_small_files(self):
        for i in range(3000):
            self.write(f"d{i % 7}/f{i}", b"%d" % i * (i % 50))
        self.round_trip()

    def test_single_files_and_special_files_named_as_sources(self):
        self.write("f", b"content")
        os.symlink("f", self.path("l"))
        os.mkfifo(self.path("p"))
        self.snapshot(self.path("f"), self.path("l"), self.path("p"))
        self.ok("restore", "latest", "--target", self.target())
        self.assertEqual(self.read(self.restored(self.path("f"))), b"content")
        self.assertEqual(os.readlink(self.restored(self.path("l"))), "f")
        self.assertTrue(stat.S_ISFIFO(os.stat(self.restored(self.path("p"))).st_mode))

    def test_both_io_backends_and_every_profile_keep_the_same_bytes(self):
        data = self.random.randbytes(3_000_000) + bytes(200_000) + b"tail"
        path = self.write("f", data)
        for args in (["--io", "threads"], ["--io", "auto"], ["--threads", "1", "--memory-limit", "64M"]):
            for profile in ("auto", "cdc", "aligned"):
                self.snapshot("--parent", "none", "--profile", profile, self.src, *args)
                self.assertEqual(self.ok("dump", "latest", path, *args).out, data)


if __name__ == "__main__":
    harness.main()
