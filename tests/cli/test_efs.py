#!/usr/bin/env python3
"""The address efs://fs-ID/folder. Real mounts are in tests/nfs/."""

import os

import harness


class Efs(harness.CliTest):
    make_repository = False

    def environment(self):
        env = super().environment()
        env["SNAPSTORE_REPOSITORY"] = "efs://fs-0123abcd/team/repo"
        return env

    def with_root(self):
        return {**self.environment(), "SNAPSTORE_EFS_ROOT": os.path.join(self.dir, "efs")}

    def test_a_folder_below_the_root_that_is_set_holds_a_repository(self):
        os.makedirs(os.path.join(self.dir, "efs", "fs-0123abcd"))
        self.ok("init", env=self.with_root())
        self.assertTrue(os.path.exists(os.path.join(self.dir, "efs/fs-0123abcd/team/repo/config")))
        self.write("file", b"content")
        snapshot = self.snapshot(env=self.with_root())["snapshot_id"]
        self.ok("restore", snapshot, "--target", self.target(), env=self.with_root())
        self.assertEqual(self.read(self.restored(os.path.join(self.src, "file"))), b"content")

    def test_a_folder_without_a_repository_is_no_repository(self):
        os.makedirs(os.path.join(self.dir, "efs", "fs-0123abcd", "team", "repo"))
        self.one_line_error(10, "list", env=self.with_root(), contains=["no repository"])

    def test_a_file_system_that_is_not_mounted_is_an_error_and_no_absence(self):
        for command in (("init",), ("list",), ("snapshot", self.src)):
            self.one_line_error(1, *command, contains=["fs-0123abcd", "mount -t efs"])

    def test_what_is_no_file_system_is_refused(self):
        for address in ("efs://", "efs://fs-0123", "efs://0123abcd/x", "efs://fs-0123ABCD/x",
                        "efs://fs-0123abcd/../x", "efs://fs-0123abcd/a/./b", "efs://fs-0123abcd/.."):
            env = {**self.with_root(), "SNAPSTORE_REPOSITORY": address}
            self.one_line_error(1, "init", env=env)
            self.assertFalse(os.path.exists(os.path.join(self.dir, "efs")), address)


if __name__ == "__main__":
    harness.main()
