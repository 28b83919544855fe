"""Invariant 1: a snapshot exists exactly when its manifest does; SIGKILL at any instant leaves
every earlier snapshot whole."""

import os
import shutil
import signal
import subprocess
import time

import compare
import harness

KILLS = int(os.environ.get("SNAPSTORE_KILLS", "50"))


class Invariant1(harness.CliTest):

    def change_something(self, step):
        """A few edits and a few new files, so that each snapshot has something to store."""
        for i in range(4):
            self.write(f"new/{step}-{i}", self.random.randbytes(400_000))
        path = os.path.join(self.src, "big")
        with open(path, "r+b") as f:
            for _ in range(8):
                f.seek(self.random.randrange(0, 24 << 20))
                f.write(self.random.randbytes(4096))

    def ids(self):
        return {s["id"] for s in self.ok("list", "--json").lines[0]}

    def test_a_killed_snapshot_leaves_all_earlier_ones_restorable(self):
        self.write("big", self.random.randbytes(24 << 20))
        for i in range(300):
            self.write(f"small/{i}", self.random.randbytes(self.random.randrange(1, 20_000)))
        started = time.monotonic()
        self.snapshot()
        # An instant drawn from here covers start-up, reading, storing, committing and exit.
        longest = (time.monotonic() - started) * 1.2

        known = {}  # snapshot id -> a copy of the source as it was
        committed = killed = 0
        for step in range(KILLS):
            self.change_something(step)
            before = self.ids()
            process = self.start("snapshot", self.src, "--quiet", stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE)
            time.sleep(self.random.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
            _, stderr = process.communicate(timeout=60)
            self.assertEqual(stderr, b"", f"seed {self.seed}, step {step}")
            added = self.ids() - before
            self.assertLessEqual(len(added), 1)
            if added:
                committed += 1
                copy = os.path.join(self.dir, f"copy-{step}")
                shutil.copytree(self.src, copy, symlinks=True)
                known[added.pop()] = copy
            else:
                killed += 1
            if step % 10 == 9:
                self.ok("check")
        self.ok("check", "--read-data")
        # A run in which one of the two never happened would prove nothing.
        self.assertGreater(killed, 0, f"seed {self.seed}")
        self.assertGreater(committed, 0, f"seed {self.seed}")
        for number, (snapshot_id, copy) in enumerate(known.items()):
            target = self.target(f"out-{number}")
            self.ok("restore", snapshot_id, "--target", target)
            compare.assert_same_tree(self, copy, self.restored(self.src, target))
            shutil.rmtree(target)
        # The next run takes up what the killed ones stored and commits.
        self.snapshot()
        self.ok("check", "--read-data")

    def test_a_killed_restore_can_be_repeated_in_place(self):
        self.write("big", self.random.randbytes(24 << 20))
        self.snapshot()
        for _ in range(5):
            process = self.start("restore", "latest", "--target", self.target(), "--quiet",
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(self.random.uniform(0, 0.2))
            process.kill()
            process.wait()
        self.ok("restore", "latest", "--target", self.target(), "--in-place")
        compare.assert_same_tree(self, self.src, self.restored(self.src))


if __name__ == "__main__":
    harness.main()
