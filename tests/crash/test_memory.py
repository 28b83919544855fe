"""Invariant 6: one memory budget holds whatever the input."""

import os
import subprocess

import harness

MIB = 1 << 20


class Invariant6(harness.CliTest):

    LIMIT_MIB = 192

    def peak_mib(self, *args):
        process = self.start(*args, f"--memory-limit={self.LIMIT_MIB}M", "--quiet",
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        error = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.returncode, 0, error)
        return usage.ru_maxrss / 1024

    def test_every_command_on_much_data_stays_within_the_limit(self):
        # Much more data than memory, in one large file and in many small ones.
        with open(os.path.join(self.src, "large"), "wb") as f:
            block = self.random.randbytes(4 * MIB)
            for i in range(160):
                f.write(i.to_bytes(8, "little") + block[8 + i * 3:] + block[:i * 3])
        for i in range(3000):
            self.write(f"many/{i % 50}/{i}", self.random.randbytes(4000))
        for what in (("snapshot", self.src), ("snapshot", self.src, "--parent", "none"),
                     ("check", "--read-data"), ("restore", "latest", "--target", self.target())):
            peak = self.peak_mib(*what)
            self.assert_within(peak, what)
        # Every pack half garbage.
        with open(os.path.join(self.src, "large"), "r+b") as f:
            for at in range(0, 640 * MIB, 2 * MIB):
                f.seek(at)
                f.write(self.random.randbytes(MIB))
        self.snapshot()
        self.ok("forget", "--keep-last", "1")
        self.assert_within(self.peak_mib("prune", "--max-unused", "0"), ("prune",))

    def assert_within(self, peak, what):
        print(f"{what[0]}: peak {peak:.0f} MiB of {self.LIMIT_MIB} MiB")
        self.assertLess(peak, self.LIMIT_MIB, what)


if __name__ == "__main__":
    harness.main()
