#!/usr/bin/env python3
"""The command on NFS, by two clients of one server; runs inside tests/servers/nfs_lab.py."""

import json
import os
import signal
import subprocess
import time

import harness

ADDRESS = "efs://fs-0123abcd"  # as the lab names its server
CLIENTS = {"a": os.environ.get("NFS_A", ""), "b": os.environ.get("NFS_B", "")}
EXPORT = os.environ.get("NFS_EXPORT", "")
LEASE_SECONDS = 10


def lab(*words):
    subprocess.run(["lab", *words], check=True)


class OnNfs(harness.CliTest):
    make_repository = False

    def setUp(self):
        super().setUp()
        self.name = os.path.basename(self.dir)
        self.ok("init", env=self.client("a"))
        self.addCleanup(subprocess.run, ["rm", "-rf", os.path.join(EXPORT, self.name)], check=True)

    def client(self, name):
        """The environment of one client: its mount, an index of its own."""
        env = self.environment()
        env["SNAPSTORE_REPOSITORY"] = os.path.join(CLIENTS[name], self.name)
        env["SNAPSTORE_CACHE_DIR"] = os.path.join(self.dir, f"cache-{name}")
        return env

    def source(self, name, mib):
        """A folder with random content, half of it the same for every name."""
        root = os.path.join(self.dir, f"src-{name}")
        self.write("own", self.random.randbytes(mib << 19), root)
        self.random.seed(self.seed)
        self.write("common", self.random.randbytes(mib << 19), root)
        return root

    def snapshot_args(self, root):
        # Small packs, so that there is a middle.
        return "--memory-limit", "64M", "--json", "snapshot", root

    def begin(self, client, root):
        process = self.start(*self.snapshot_args(root), env=self.client(client),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def packs(self):
        folder = os.path.join(EXPORT, self.name, "data")
        return sum(len(files) for _, _, files in os.walk(folder))

    def finish(self, process):
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        return harness.Done(0, out, err).message("summary")["snapshot_id"]

    def ids(self, client):
        listed = self.ok("--json", "list", env=self.client(client))
        return {snapshot["id"] for snapshot in json.loads(listed.text)}

    def expect_restored(self, client, snapshot, root):
        target = os.path.join(self.dir, f"out-{client}-{snapshot[:8]}")
        self.ok("restore", snapshot, "--target", target, env=self.client(client))
        for name in os.listdir(root):
            self.assertEqual(self.read(self.restored(os.path.join(root, name), target)),
                             self.read(os.path.join(root, name)), name)

    def test_both_write_at_once_and_each_restores_what_the_other_stored(self):
        roots = {name: self.source(name, 6) for name in CLIENTS}
        running = {name: self.begin(name, root) for name, root in roots.items()}
        ids = {name: self.finish(process) for name, process in running.items()}
        for name in CLIENTS:
            self.assertEqual(self.ids(name), set(ids.values()))
        self.expect_restored("a", ids["b"], roots["b"])
        self.expect_restored("b", ids["a"], roots["a"])
        self.ok("check", "--read-data", env=self.client("b"))
        # The other's packs are known: what it stored is not stored again.
        again = self.ok(*self.snapshot_args(roots["a"]), env=self.client("b")).message("summary")
        self.assertEqual(again["chunks_new"], 0)
        self.assertEqual(self.ids("a"), self.ids("b"))

    def test_a_killed_snapshot_leaves_nothing_that_the_other_sees(self):
        root = self.source("a", 12)
        lab("delay", "a", "60ms")
        process = self.begin("a", root)
        self.wait_for(lambda: self.packs() > 0, 60, "a pack")
        process.kill()
        process.communicate()
        self.assertEqual(process.returncode, -signal.SIGKILL)
        lab("delay", "a", "0ms")
        self.assertEqual(self.ids("b"), set())
        self.ok("check", env=self.client("b"))
        snapshot = self.finish(self.begin("a", root))
        self.assertEqual(self.ids("b"), {snapshot})
        self.expect_restored("b", snapshot, root)

    def test_neither_a_cut_longer_than_the_lease_nor_a_restart_of_the_server_ends_a_snapshot(self):
        roots = {name: self.source(name, 10) for name in CLIENTS}
        lab("delay", "a", "60ms")
        cut_off = self.begin("a", roots["a"])
        self.wait_for(lambda: self.packs() > 0, 60, "a pack")
        lab("cut", "a")
        cut_at = time.monotonic()
        before = self.packs()
        other = self.begin("b", roots["b"])
        self.wait_for(lambda: self.packs() > before, 60, "a pack of the other")
        lab("server", "restart")
        ids = {"b": self.finish(other)}
        time.sleep(max(0.0, cut_at + LEASE_SECONDS + 3 - time.monotonic()))
        self.assertIsNone(cut_off.poll())
        lab("heal", "a")
        ids["a"] = self.finish(cut_off)
        self.assertEqual(self.ids("b"), set(ids.values()))
        self.expect_restored("b", ids["a"], roots["a"])
        self.expect_restored("a", ids["b"], roots["b"])
        self.ok("check", "--read-data", env=self.client("b"))

    def test_an_efs_address_is_found_among_the_mounts(self):
        env = self.client("a")
        env["SNAPSTORE_REPOSITORY"] = f"{ADDRESS}/{self.name}"
        done = self.ok("stats", env=env)
        self.assertIn("mounted 2 times", done.error_text)
        self.assertIn(f"{CLIENTS['b']}/{self.name}", done.text)
        env["SNAPSTORE_REPOSITORY"] = "efs://fs-99999999/x"
        self.one_line_error(1, "list", env=env, contains=["is not mounted"])

    def test_the_index_does_not_go_onto_nfs(self):
        env = self.client("a")
        env["SNAPSTORE_CACHE_DIR"] = os.path.join(CLIENTS["a"], self.name + "-cache")
        self.addCleanup(subprocess.run, ["rm", "-rf", os.path.join(EXPORT, self.name + "-cache")],
                        check=True)
        self.one_line_error(1, "snapshot", self.source("a", 1), env=env,
                            contains=["SNAPSTORE_CACHE_DIR", "network"])


if __name__ == "__main__":
    harness.main()
