"""Signals and closed pipes."""

import os
import signal
import subprocess
import unittest

import harness


class Interrupt(harness.CliTest):

    def test_sigint_during_a_stream_ends_with_130_and_leaves_no_snapshot(self):
        kept = self.snapshot()["snapshot_id"]
        for number in (signal.SIGINT, signal.SIGTERM):
            feed = self.start("snapshot", "--stdin", "--name", "s", stdin=-1, stdout=-1, stderr=-1)
            try:
                feed.stdin.write(self.random.randbytes(3 << 20))
                feed.stdin.flush()
                harness.time.sleep(0.3)
                feed.send_signal(number)
                feed.wait(20)
            finally:
                feed.kill()
                feed.stdin.close()
                feed.stdout.close()
                error = feed.stderr.read().decode()
                feed.stderr.close()
                feed.wait()
            self.assertEqual(feed.returncode, 130, error)
            self.assertEqual(len(error.splitlines()), 1, error)
        self.assertEqual([s["id"] for s in self.ok("list", "--json").lines[0]], [kept])
        self.ok("check", "--read-data")

    def test_sigint_during_a_large_file_ends_with_130(self):
        with open(os.path.join(self.src, "big"), "wb") as f:
            for _ in range(16):
                block = self.random.randbytes(1 << 20)
                # Compressible, so that level 19 has something to chew on.
                f.write(block.hex().encode() * 8)
        done = self.start("snapshot", "--compression-level", "19", "--threads", "1", self.src,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            harness.time.sleep(0.5)
            done.send_signal(signal.SIGINT)
            error = done.communicate(timeout=30)[1].decode()
        finally:
            done.kill()
            done.wait()
        self.assertEqual(done.returncode, 130, error)
        self.assertEqual(self.ok("list", "--json").lines[0], [])
        self.ok("check")
        self.ok("snapshot", self.src)

    def test_a_second_sigint_ends_a_blocked_command_at_once(self):
        self.write("f", self.random.randbytes(4 << 20))
        self.snapshot()
        read_end, write_end = os.pipe()
        dump = self.start("dump", "latest", f"{self.src}/f", stdout=write_end)
        os.close(write_end)
        try:
            os.read(read_end, 1)
            harness.time.sleep(0.2)
            dump.send_signal(signal.SIGINT)
            harness.time.sleep(0.3)
            dump.send_signal(signal.SIGINT)
            self.assertEqual(dump.wait(5), 130)
        finally:
            dump.kill()
            dump.wait()
            os.close(read_end)

    def test_a_closed_pipe_ends_quietly_with_failure(self):
        self.write("f", self.random.randbytes(4 << 20))
        for i in range(600):  # names of more bytes than a pipe holds
            self.write(f"many/{i:0200}", b"")
        self.snapshot()
        for args in (["dump", "latest", f"{self.src}/f"], ["ls", "latest"], ["ls", "--json", "latest"]):
            process = self.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdout.read(1)
            process.stdout.close()
            error = process.stderr.read()
            process.stderr.close()
            self.assertEqual(process.wait(30), 1, args)
            self.assertEqual(error, b"")

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            process = self.start("list", stdout=full, stderr=subprocess.PIPE)
            error = process.communicate(timeout=30)[1].decode()
        self.assertEqual(process.returncode, 1)
        self.assertIn("No space left", error)

    def test_closed_standard_descriptors_do_no_harm(self):
        script = f'exec "{harness.BINARY}" -q snapshot "{self.src}" <&- >&- 2>&-'
        self.assertEqual(subprocess.run(["sh", "-c", script], env=self.environment()).returncode, 1)
        self.ok("check", "--read-data")


if __name__ == "__main__":
    harness.main()
