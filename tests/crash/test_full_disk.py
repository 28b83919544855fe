"""A full disk ends with a clear error and a whole repository."""

import os
import subprocess
import unittest

import harness


@unittest.skipUnless(harness.IS_ROOT, "mounting a file system needs root")
class FullDisk(harness.CliTest):

    make_repository = False
    SMALL_MIB = 48

    def setUp(self):
        super().setUp()
        image = os.path.join(self.dir, "disk.img")
        self.disk = os.path.join(self.dir, "disk")
        os.mkdir(self.disk)
        with open(image, "wb") as f:
            f.truncate(self.SMALL_MIB << 20)
        harness.run_tool("mkfs.ext4", "-q", "-F", "-O", "^has_journal", image)
        harness.run_tool("mount", "-o", "loop", image, self.disk)
        self.addCleanup(subprocess.run, ["umount", self.disk], check=True)

    def fill_disk(self):
        """To the last block: a large piece may fail where a small one still fits."""
        with open(os.path.join(self.disk, "filler"), "wb", buffering=0) as f:
            for piece in (1 << 20, 1 << 16, 1 << 12, 1):
                try:
                    while True:
                        f.write(b"x" * piece)
                except OSError:
                    pass

    def use_repository_on_disk(self):
        self.repo = os.path.join(self.disk, "repo")
        self.ok("init")

    def test_a_snapshot_that_does_not_fit_fails_and_harms_nothing(self):
        self.use_repository_on_disk()
        self.write("first", self.random.randbytes(8 << 20))
        self.snapshot()
        self.write("second", self.random.randbytes(64 << 20))
        self.one_line_error(1, "snapshot", self.src, contains=("No space left",))
        self.ok("check", "--read-data")
        self.assertEqual(len(self.ok("list", "--json").lines[0]), 1)
        self.ok("restore", "latest", "--target", self.target())
        self.assertEqual(os.listdir(self.restored(self.src)), ["first"])
        first = os.path.join(self.src, "first")
        self.assertEqual(self.read(first), self.read(self.restored(first)))
        # With room again the same repository goes on.
        os.truncate(os.path.join(self.src, "second"), 1 << 20)
        self.snapshot()
        self.ok("check", "--read-data")

    def test_init_on_a_full_disk_makes_no_repository(self):
        self.fill_disk()
        self.repo = os.path.join(self.disk, "repo")
        self.one_line_error(1, "init", contains=("No space left",))
        self.one_line_error(10, "list")

    def test_a_restore_that_does_not_fit_says_where(self):
        self.repo = os.path.join(self.dir, "repo")
        self.ok("init")
        self.write("large", self.random.randbytes(64 << 20))
        self.snapshot()
        self.one_line_error(1, "restore", "latest", "--target", os.path.join(self.disk, "out"),
                            contains=("No space left", "large"))

    def test_a_cache_directory_that_is_full_does_not_damage_the_repository(self):
        self.repo = os.path.join(self.dir, "repo")
        self.ok("init")
        self.fill_disk()
        self.write("data", self.random.randbytes(1 << 20))
        env = self.environment() | {"SNAPSTORE_CACHE_DIR": os.path.join(self.disk, "cache")}
        self.one_line_error(1, "snapshot", self.src, env=env)
        self.snapshot()
        self.ok("check", "--read-data")


if __name__ == "__main__":
    harness.main()
