"""Streams of unknown length."""

import os
import unittest

import harness


class Stdin(harness.CliTest):

    def test_a_stream_is_stored_under_its_name(self):
        for size in (0, 1, 4096, 3_000_001):
            data = self.random.randbytes(size)
            summary = self.snapshot("--stdin", "--name", "/backup/db.sql", input=data)
            self.assertEqual(summary["bytes_total"], size)
            self.assertEqual(self.ok("dump", "latest", "backup/db.sql").out, data)
            self.ok("restore", "latest", "--to", self.target())
            self.assertEqual(self.read(self.target()), data)

    def test_the_same_stream_again_adds_nothing_new(self):
        data = self.random.randbytes(2_000_000)
        self.snapshot("--stdin", "--name", "s", input=data)
        self.assertEqual(self.snapshot("--stdin", "--name", "s", input=data)["bytes_new"], 0)
        shifted = self.snapshot("--stdin", "--name", "s", input=b"inserted" + data)
        self.assertLess(shifted["bytes_new"], 200_000)

    def test_a_stream_goes_together_with_files(self):
        path = self.write("f", b"file")
        self.snapshot("--stdin", "--name", "s", self.src, input=b"stream")
        self.assertEqual(self.ok("dump", "latest", "s").out, b"stream")
        self.assertEqual(self.ok("dump", "latest", path).out, b"file")

    def test_a_stream_that_comes_in_small_pieces(self):
        read_end, write_end = os.pipe()
        feed = self.start("-q", "snapshot", "--stdin", "--name", "s", stdin=read_end, stdout=-1)
        os.close(read_end)
        parts = [self.random.randbytes(self.random.randrange(1, 900)) for _ in range(300)]
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for part in parts:
                pipe.write(part)
        feed.communicate(timeout=60)
        self.assertEqual(feed.returncode, 0)
        self.assertEqual(self.ok("dump", "latest", "s").out, b"".join(parts))

    def test_wrong_combinations_are_usage_errors(self):
        self.one_line_error(2, "snapshot", "--stdin", contains=["--name"])
        self.one_line_error(2, "snapshot", "--name", "x", self.src, contains=["--name"])
        self.one_line_error(2, "snapshot", "--stdin", "--name", "../x", contains=[".."])
        self.one_line_error(2, "snapshot", "--stdin", "--name", "/", contains=["--name"])


if __name__ == "__main__":
    harness.main()
