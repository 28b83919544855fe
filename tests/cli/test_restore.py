"""Restoring parts, in place, to one file; and never outside the target."""

import os
import unittest

import compare
import harness


class Restore(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.big = self.write("big", self.random.randbytes(8 << 20))
        self.small = self.write("sub/small", b"small")
        self.write("sub/deep/x", b"x")
        self.expected = compare.scan(self.src)
        self.id = self.snapshot()["snapshot_id"]

    def test_only_the_selected_paths_are_restored(self):
        self.ok("restore", "latest", "--target", self.target(), "--path", f"{self.src}/sub/deep",
                "--path", self.small.lstrip("/"))
        found = compare.scan(self.restored(self.src))
        self.assertEqual(sorted(found), [b".", b"sub", b"sub/deep", b"sub/deep/x", b"sub/small"])

    def test_an_existing_target_is_overwritten_where_paths_collide(self):
        self.ok("restore", "latest", "--target", self.target())
        with open(self.restored(self.small), "wb") as f:
            f.write(b"something longer than before")
        os.unlink(self.restored(self.big))
        os.symlink("/etc/passwd", self.restored(self.big))
        self.ok("restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.expected, self.restored(self.src))
        self.assertIn(b"root", self.read("/etc/passwd"))

    def test_in_place_rewrites_only_what_differs(self):
        with open(self.big, "r+b") as f:
            f.seek(3 << 20)
            f.write(b"damage")
        inode = os.stat(self.big).st_ino
        os.unlink(self.small)
        summary = self.ok("--json", "restore", "latest", "--in-place").message("summary")
        self.assertEqual(os.stat(self.big).st_ino, inode)
        self.assertLess(summary["bytes_written"], 512 << 10)
        compare.assert_same_tree(self, self.expected, self.src)
        again = self.ok("--json", "restore", "latest", "--in-place").message("summary")
        self.assertEqual(again["bytes_written"], 0)

    def test_in_place_cuts_and_extends_files(self):
        with open(self.big, "ab") as f:
            f.write(b"appended" * 1000)
        os.truncate(self.small, 2)
        self.ok("restore", "latest", "--in-place")
        compare.assert_same_tree(self, self.expected, self.src)

    def test_in_place_below_another_target(self):
        self.ok("restore", "latest", "--target", self.target())
        inode = os.stat(self.restored(self.big)).st_ino
        with open(self.restored(self.big), "r+b") as f:
            f.write(b"damage")
        self.ok("restore", "latest", "--target", self.target(), "--in-place")
        compare.assert_same_tree(self, self.expected, self.restored(self.src))
        self.assertEqual(os.stat(self.restored(self.big)).st_ino, inode)

    def test_to_writes_one_file_to_any_name(self):
        self.ok("restore", self.id[:10], "--path", self.big, "--to", self.target("copy"))
        self.assertEqual(self.read(self.target("copy")), self.read(self.big))
        with open(self.target("longer"), "wb") as f:
            f.write(b"z" * (9 << 20))
        self.ok("restore", "latest", "--path", self.big, "--to", self.target("longer"))
        self.assertEqual(self.read(self.target("longer")), self.read(self.big))

    def test_to_refuses_several_files_or_a_directory(self):
        self.one_line_error(1, "restore", "latest", "--to", self.target("copy"))
        self.one_line_error(1, "restore", "latest", "--path", f"{self.src}/sub", "--to", self.target("copy"))
        self.assertFalse(os.path.exists(self.target("copy")))

    def test_a_symlink_in_the_target_never_leads_outside(self):
        outside = self.target("outside")
        os.makedirs(outside)
        root = self.restored(self.src)
        os.makedirs(root)
        os.symlink(outside, os.path.join(root, "sub"))
        self.run_cli("restore", "latest", "--target", self.target())
        self.assertEqual(os.listdir(outside), [])
        self.assertEqual(self.read(self.restored(self.big)), self.read(self.big))

    def test_a_restore_can_be_repeated_after_it_was_cut_short(self):
        self.ok("restore", "latest", "--target", self.target(), "--path", self.small)
        self.ok("restore", "latest", "--target", self.target(), "--in-place")
        compare.assert_same_tree(self, self.expected, self.restored(self.src))

    def test_a_machine_without_a_cache_restores(self):
        env = self.environment()
        env["SNAPSTORE_CACHE_DIR"] = self.target("other-cache")
        self.ok("restore", "latest", "--target", self.target(), env=env)
        compare.assert_same_tree(self, self.expected, self.restored(self.src))

    def test_older_snapshots_stay_as_they_were(self):
        self.write("sub/small", b"changed")
        os.unlink(self.big)
        self.snapshot()
        self.ok("restore", self.id, "--target", self.target())
        compare.assert_same_tree(self, self.expected, self.restored(self.src))


if __name__ == "__main__":
    harness.main()
