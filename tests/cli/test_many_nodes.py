"""Invariant 8 on a real S3 server: ten writers, a prune and a forget at once, on one bucket.

Each writer is a node of its own, with its own cache. For the time of the test (SNAPSTORE_SECONDS) it
changes its files, some of them the same as other writers', takes a snapshot and remembers what it
looked like. Afterwards every snapshot that is still there must be whole and bit-exact.
"""

import hashlib
import os
import random
import shutil
import threading
import time

import harness
import s3_case

SECONDS = float(os.environ.get("SNAPSTORE_SECONDS", "15"))
WRITERS = int(os.environ.get("SNAPSTORE_WRITERS", "10"))
BUSY = 11


def digests(folder):
    found = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


class ManyNodes(s3_case.S3Case):

    bucket = "many-nodes"

    def setUp(self):
        super().setUp()
        self.taken = {}  # snapshot id -> (source, digests of its files)
        self.lock = threading.Lock()
        self.counts = {"snapshots": 0, "busy": 0, "prunes": 0, "prunes_busy": 0, "deleted": 0, "forgotten": 0}

    def environment(self, node="main"):
        return {**super().environment(),
                "SNAPSTORE_CACHE_DIR": os.path.join(self.dir, f"cache-{node}")}

    def count(self, name, by=1):
        with self.lock:
            self.counts[name] += by

    def write_for_a_while(self, number, until):
        mine = random.Random(self.seed + number)
        source = os.path.join(self.dir, f"node-{number}")
        while time.monotonic() < until:
            for _ in range(mine.randrange(1, 4)):
                # One in two is content that other writers store as well, and forget as well.
                shared = mine.random() < 0.5
                content = random.Random(self.seed if shared else mine.random())
                content = random.Random(f"{self.seed}-{mine.randrange(20)}") if shared else content
                self.write(f"f{mine.randrange(6)}", content.randbytes(mine.choice((20_000, 400_000))), root=source)
            expected = digests(source)
            arguments = ["--json", "snapshot", source] + (["--parent", "none"] if mine.random() < 0.3 else [])
            done = self.run_cli(*arguments, env=self.environment(f"w{number}"))
            if done.code == BUSY:
                self.count("busy")
                continue
            self.assertEqual(done.code, 0, f"seed {self.seed}: {done.error_text}")
            with self.lock:
                self.taken[done.message("summary")["snapshot_id"]] = (source, expected)
            self.count("snapshots")

    def prune_for_a_while(self, until):
        while time.monotonic() < until:
            done = self.run_cli("--json", "prune", "--max-unused", "0", env=self.environment("janitor"))
            if done.code == BUSY:
                self.count("prunes_busy")
                continue
            self.assertEqual(done.code, 0, f"seed {self.seed}: {done.error_text}")
            self.count("prunes")
            self.count("deleted", done.message("summary")["packs_deleted"])

    def forget_for_a_while(self, until):
        while time.monotonic() < until:
            done = self.run_cli("--json", "forget", "--keep-last", "2", env=self.environment("forgetful"))
            self.assertEqual(done.code, 0, f"seed {self.seed}: {done.error_text}")
            self.count("forgotten", done.message("summary")["forgotten"])
            time.sleep(0.3)

    def test_ten_writers_a_prune_and_a_forget_at_once_lose_nothing(self):
        until = time.monotonic() + SECONDS
        jobs = [(self.write_for_a_while, n, until) for n in range(WRITERS)]
        jobs += [(self.prune_for_a_while, until), (self.forget_for_a_while, until)]
        failures = []

        def guarded(job, *arguments):
            try:
                job(*arguments)
            except BaseException as problem:  # to be told by the main thread
                failures.append(problem)

        threads = [threading.Thread(target=guarded, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        print(f"seed {self.seed}: {self.counts}", flush=True)
        for name in ("snapshots", "prunes", "forgotten"):
            self.assertGreater(self.counts[name], 0)
        self.ok("check", "--read-data", env=self.environment("cold"))
        left = [s["id"] for s in self.ok("list", "--json").lines[0]]
        self.assertGreaterEqual(len(left), 1)
        for snapshot in left:
            source, expected = self.taken[snapshot]
            target = self.target("out")
            self.ok("restore", snapshot, "--target", target, env=self.environment("cold"))
            self.assertEqual(digests(self.restored(source, target)), expected, f"seed {self.seed}")
            shutil.rmtree(target)
        # Nobody is at work any more: what is left is what these snapshots need.
        self.ok("prune", "--max-unused", "0")
        plan = self.ok("--json", "prune", "--max-unused", "0", "--dry-run").message("plan")
        self.assertEqual((plan["packs_delete"], plan["packs_rewrite"], plan["bytes_unused_left"]), (0, 0, 0))
        self.ok("check", "--read-data", env=self.environment("cold"))


if __name__ == "__main__":
    harness.main()
