"""Bad input: one clear line, the code of docs/exit-codes.md, and nothing else touched."""

import fcntl
import os
import shutil
import threading
import unittest

import harness


class ExitCodes(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.file = self.write("f", b"content")

    def test_10_when_there_is_no_repository(self):
        for place in ("/nonexistent/repo", self.src, self.file):
            for command in (["list"], ["snapshot", self.src], ["check"], ["stats"], ["show", "latest"],
                            ["restore", "latest", "--target", self.target()], ["repair", "index"]):
                self.one_line_error(10, *command, "-r", place, contains=[place])
        self.assertEqual(os.listdir(self.src), ["f"])

    def test_2_when_no_repository_is_named(self):
        env = self.environment()
        del env["SNAPSTORE_REPOSITORY"]
        self.one_line_error(2, "list", env=env, contains=["SNAPSTORE_REPOSITORY"])

    def test_1_when_init_finds_the_place_taken(self):
        self.one_line_error(1, "init", contains=[self.repo])
        self.one_line_error(1, "init", "-r", self.src, contains=[self.src])
        self.assertEqual(os.listdir(self.src), ["f"])
        self.one_line_error(1, "init", "-r", self.file, contains=[self.file])
        self.assertEqual(self.read(self.file), b"content")
        self.ok("list")

    def test_init_takes_an_empty_or_a_missing_directory(self):
        empty = self.target("empty")
        os.mkdir(empty)
        self.ok("init", "-r", empty)
        self.ok("init", "-r", self.target("deep/er/new"))

    def test_1_for_an_unknown_snapshot_or_an_ambiguous_prefix(self):
        self.one_line_error(1, "show", "latest")
        taken = self.snapshot()["snapshot_id"]
        self.one_line_error(1, "show", "0" * 64, contains=["0" * 64])
        self.one_line_error(1, "show", "feedfeedfeed", contains=["feedfeedfeed"])
        self.one_line_error(1, "show", "not-an-id", contains=["not-an-id"])
        self.one_line_error(1, "restore", "feedfeedfeed", "--target", self.target())
        self.assertFalse(os.path.exists(self.target()))
        self.one_line_error(1, "diff", taken, "feedfeedfeed")
        self.one_line_error(1, "snapshot", "--parent", "feedfeedfeed", self.src)
        # A second manifest whose name has the same beginning; it need not be a good one.
        manifest = next(os.path.join(d, n) for d, _, names in os.walk(self.repo) for n in names if taken in n)
        twin = taken[:-1] + ("0" if taken[-1] != "0" else "1")
        shutil.copy(manifest, manifest.replace(taken, twin))
        self.one_line_error(1, "show", taken[:20], contains=[taken[:12], twin[:12]])
        self.ok("show", taken)

    def test_1_for_a_path_that_is_not_in_the_snapshot(self):
        self.snapshot()
        self.one_line_error(1, "ls", "latest", "no/such", contains=["no/such"])
        self.one_line_error(1, "dump", "latest", "no/such", contains=["no/such"])
        self.one_line_error(1, "restore", "latest", "--target", self.target(), "--path", "no/such",
                            contains=["no/such"])
        self.one_line_error(1, "dump", "latest", self.src, contains=[self.src.lstrip("/")])
        self.one_line_error(1, "dump", "latest", self.file, "--offset", "8", contains=["beyond"])

    def test_11_while_others_hold_every_index_folder(self):
        self.snapshot()
        (cache,) = [entry.path for entry in os.scandir(f"{self.dir}/cache")]
        for i in range(16):
            os.makedirs(f"{cache}/index-{i}", exist_ok=True)
            lock = open(f"{cache}/index-{i}/LOCK", "a")
            self.addCleanup(lock.close)
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.write("new", b"to be looked up")
        self.one_line_error(11, "snapshot", self.src, contains=[cache])
        self.assertEqual(len(self.ok("list", "--json").lines[0]), 1)

    def test_1_when_nothing_at_all_can_be_read(self):
        done = self.expect(1, "snapshot", f"{self.dir}/gone")
        self.assertIn("gone", done.error_text)
        self.assertEqual(self.ok("list", "--json").lines[0], [])

    def test_3_when_a_source_is_missing_and_the_rest_is_kept(self):
        done = self.expect(3, "snapshot", self.src, f"{self.dir}/gone\x1b")
        self.assertEqual(len(done.error_text.splitlines()), 1)
        self.assertIn(r"gone\x1b: ", done.error_text)
        self.assertTrue(done.error_text.startswith("warning: "))
        self.assertIn("unreadable  1", done.text)
        self.assertEqual(self.ok("dump", "latest", self.file).out, b"content")
        self.assertEqual(self.ok("--json", "show", "latest").lines[0]["unreadable"], 1)

    @unittest.skipUnless(harness.IS_ROOT, "needs root to become somebody else")
    def test_3_when_files_are_unreadable_and_the_rest_is_kept(self):
        os.chmod(self.write("secret", b"hidden"), 0o600)
        os.mkdir(f"{self.src}/locked", 0o700)
        self.write("locked/inside", b"x")
        binary = self.readable_binary()
        os.makedirs(f"{self.dir}/cache", exist_ok=True)
        for place in (self.repo, f"{self.dir}/cache"):
            harness.run_tool("chown", "-R", str(harness.NOBODY), place)
        summary = self.snapshot(self.src, code=3, binary=binary, wrap=harness.AS_NOBODY)
        self.assertEqual(summary["unreadable"], 2)
        done = self.expect(3, "snapshot", self.src, binary=binary, wrap=harness.AS_NOBODY)
        self.assertEqual(sorted(line.split(": ")[1] for line in done.error_text.splitlines()),
                         [f"{self.src}/locked", f"{self.src}/secret"])
        self.assertEqual(self.ok("dump", "latest", self.file).out, b"content")
        self.one_line_error(1, "dump", "latest", f"{self.src}/secret")

    def test_files_that_change_or_vanish_while_read_do_no_harm(self):
        stop = threading.Event()
        log = self.write("log", b"x" * 100_000)

        def churn():
            i = 0
            while not stop.is_set():
                with open(log, "r+b") as f:
                    f.truncate(self.random.randrange(200_000))
                    f.seek(0, 2)
                    f.write(b"y" * 1000)
                path = self.write(f"come-and-go/{i % 7}/f", b"z" * 5000)
                os.unlink(path)
                os.rmdir(os.path.dirname(path))
                i += 1

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(10):
                done = self.run_cli("snapshot", self.src)
                self.assertIn(done.code, (0, 3), f"seed {self.seed}: {done.err}")
        finally:
            stop.set()
            thread.join()
        self.ok("check", "--read-data")
        for i, item in enumerate(self.ok("list", "--json").lines[0]):
            self.ok("restore", item["id"], "--target", self.target(f"out{i}"))
            self.assertEqual(self.read(self.restored(self.file, self.target(f"out{i}"))), b"content")

    @unittest.skipUnless(harness.IS_ROOT, "needs root to become somebody else")
    def test_1_when_the_target_or_the_repository_cannot_be_written(self):
        self.snapshot()
        binary = self.readable_binary()
        os.mkdir(self.target("locked"), 0o755)
        os.makedirs(f"{self.dir}/cache", exist_ok=True)
        harness.run_tool("chown", "-R", str(harness.NOBODY), f"{self.dir}/cache")
        harness.run_tool("chmod", "-R", "a+rX", self.repo)
        as_nobody = {"binary": binary, "wrap": harness.AS_NOBODY}
        self.one_line_error(1, "restore", "latest", "--target", self.target("locked/out"), **as_nobody,
                            contains=[self.target("locked"), "ermission denied"])
        self.one_line_error(1, "restore", "latest", "--path", self.file, "--to", self.target("locked/f"),
                            **as_nobody, contains=[self.target("locked/f"), "ermission denied"])
        done = self.expect(1, "snapshot", self.write("new", b"new content"), **as_nobody)
        self.assertIn("ermission denied", done.error_text)
        self.one_line_error(1, "init", "-r", self.target("locked/repo"), **as_nobody,
                            contains=["ermission denied"])

    def test_1_when_the_target_is_a_file(self):
        self.snapshot()
        self.one_line_error(1, "restore", "latest", "--target", self.file, contains=[self.file])
        self.assertEqual(self.read(self.file), b"content")

    def test_2_for_a_command_line_that_is_wrong(self):
        for args in (["snapshot"], ["snapshot", ""], ["snapshot", "--bogus", self.src],
                     ["snapshot", "--tag", "novalue", self.src], ["snapshot", "--tag", "=v", self.src],
                     ["snapshot", "--tag", "a=1", "--tag", "a=2", self.src],
                     ["snapshot", "--profile", "magic", self.src],
                     ["snapshot", "--compression-level", "0", self.src],
                     ["snapshot", "--compression-level", "20", self.src],
                     ["list", "--memory-limit", "lots"], ["list", "--memory-limit", "1M"],
                     ["list", "--memory-limit", "-1"], ["list", "--memory-limit", "99999999999999999999"],
                     ["list", "--threads", "-1"], ["list", "--threads", "x"], ["list", "--io", "magic"],
                     ["list", "extra"], ["list", "-q", "-v"], ["show"], ["show", "a", "b"], ["ls"],
                     ["ls", "latest", "../x"], ["diff", "latest"], ["restore", "latest"],
                     ["restore", "--target", "x"], ["restore", "latest", "--to", "a", "--target", "b"],
                     ["restore", "latest", "--to", "a", "--in-place"], ["dump", "latest"],
                     ["dump", "latest", "f", "--offset", "x"], ["dump", "latest", "f", "--length", "1Q"],
                     ["check", "--sample", "10%"],
                     ["check", "--read-data", "--sample", "0"],
                     ["check", "--read-data", "--sample", "101%"],
                     ["check", "--read-data", "--sample", "much"], ["repair"], ["repair", "all"]):
            with self.subTest(args=args):
                done = self.expect(2, *args)
                lines = done.error_text.splitlines()
                self.assertEqual(len(lines), 2, done.error_text)
                self.assertIn("'snapstore help", lines[1])

    def test_2_for_a_bad_list_of_changed_blocks_naming_file_and_line(self):
        self.snapshot()
        blocks = self.target("blocks")
        for text, message in ((b"0 1\n\nx 1\n", ":3: "), (b"# c\n5\n", ":2: "), (b"1 0", ":1: "),
                              (b"0 0x1ffffffffffffffff", ":1: "), (b"\x00\xff", ":1: ")):
            with open(blocks, "wb") as f:
                f.write(text)
            self.one_line_error(2, "snapshot", "--changed-blocks", blocks, self.file,
                                contains=[blocks + message])
        self.one_line_error(2, "snapshot", "--changed-blocks", self.target("none"), self.file,
                            contains=[self.target("none")])
        self.one_line_error(2, "snapshot", "--changed-blocks", blocks, self.file, self.src)
        self.one_line_error(2, "snapshot", "--changed-blocks", blocks, "--parent", "none", self.file)
        with open(blocks, "wb") as f:
            f.write(b"0 1\n")
        self.one_line_error(1, "snapshot", "--changed-blocks", blocks, self.write("other", b"x"))


if __name__ == "__main__":
    harness.main()
