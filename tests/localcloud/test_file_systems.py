"""Shared file systems: a snapstore repository at efs://, made in one instance."""

import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
import cloud as lab  # noqa: E402  (the folder is known only now)

SNAPSTORE = os.environ["SNAPSTORE_BIN"]


class FileSystemTest(unittest.TestCase):
    def setUp(self):
        self.cloud = lab.Cloud()
        self.addCleanup(self.cloud.close)

    def test_a_repository_is_seen_by_all(self):
        folder = os.path.join(self.cloud.folder, "efs")
        os.mkdir(folder)
        shutil.copy(SNAPSTORE, os.path.join(folder, "snapstore"))
        self.cloud.kill()
        self.cloud.words = ("--file-system", f"fs-0123abcd={folder}")
        self.cloud.start()
        program = "/mnt/efs/fs-0123abcd/snapstore -r efs://fs-0123abcd/x"
        # User data has SNAPSTORE_EFS_ROOT.
        first = self.cloud.launch(user_data=(
            f"#!/bin/sh -e\nmkdir /srv/data\necho kept > /srv/data/file\n{program} init\n"
            f"{program} snapshot /srv/data\necho stored\n"))
        second = self.cloud.launch()
        for instance in (first, second):
            self.cloud.wait_state(instance, "running")
        lab.wait_for("it is stored", lambda: "stored\n" in self.cloud.inside(
            first, "cat /var/log/cloud-init-output.log", check=False), 60)
        stored, = json.loads(self.cloud.inside(
            second, f"SNAPSTORE_EFS_ROOT=/mnt/efs {program} --json list"))
        snapshot = stored["id"]
        self.cloud.inside(second, f"SNAPSTORE_EFS_ROOT=/mnt/efs {program} restore {snapshot} "
                          "--target /srv/back")
        self.assertEqual(self.cloud.inside(second, "cat /srv/back/srv/data/file"), "kept\n")
        listed = subprocess.run([SNAPSTORE, "-r", os.path.join(folder, "x"), "--json", "list"],
                                capture_output=True, text=True, check=True).stdout
        self.assertEqual([one["id"] for one in json.loads(listed)], [snapshot])
        with open("/proc/self/mounts", encoding="utf-8") as file:
            self.assertNotIn("/mnt/efs/", file.read(), "the machine has no such mount")
        self.assertEqual(self.cloud.inside(second, f"ls {self.cloud.folder} | wc -l").strip(), "0")

    def test_what_cannot_be_one_is_refused(self):
        self.cloud.kill()
        for option, words in ((f"fs-01={self.cloud.folder}", "must be fs-0123abcd=/folder"),
                              ("fs-0123abcd=/nonexistent", "is no folder"),
                              (f"fs-0123abcd={self.cloud.folder}", "the cloud's own folder"),
                              (f"fs-0123abcd={os.path.dirname(self.cloud.folder)}",
                               "the cloud's own folder")):
            done = self.cloud.run("serve", "--listen", "127.0.0.1:0", "--file-system", option,
                                  check=False)
            self.assertEqual(done.returncode, 2, option)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: skipped")
        sys.exit(0)
    unittest.main()
