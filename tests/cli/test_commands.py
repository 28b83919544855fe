"""Each command does what it is for."""

import os
import time
import unittest

import compare
import harness


class Commands(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.write("a.txt", b"first\n" * 1000)
        self.write("sub/b.bin", self.random.randbytes(300_000))

    def test_a_tree_goes_into_the_store_and_comes_back(self):
        summary = self.snapshot()
        self.ok("restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))
        self.assertEqual(summary["bytes_total"], 306_000)
        self.assertEqual(summary["parent_id"], None)

    def test_snapshot_prints_its_id_first_and_alone_when_quiet(self):
        text = self.ok("snapshot", self.src).text
        self.assertRegex(text, r"\Asnapshot [0-9a-f]{64}\n")
        quiet = self.ok("snapshot", "-q", self.src).text
        self.assertRegex(quiet, r"\A[0-9a-f]{64}\n\Z")
        self.ok("show", quiet.strip())

    def test_an_unchanged_tree_adds_no_content_and_names_its_parent(self):
        first = self.snapshot()
        second = self.snapshot()
        self.assertEqual(second["parent_id"], first["snapshot_id"])
        self.assertEqual(second["bytes_new"], 0)
        self.assertEqual(second["bytes_total"], first["bytes_total"])
        self.assertEqual(self.snapshot("--parent", "none", self.src)["parent_id"], None)
        third = self.snapshot("--parent", first["snapshot_id"][:16], self.src)
        self.assertEqual(third["parent_id"], first["snapshot_id"])

    def test_unchanged_files_of_the_parent_are_not_read(self):
        # Past the interval in which a timestamp cannot be trusted.
        time.sleep(2.1)
        self.snapshot()
        self.assertEqual(self.snapshot()["bytes_read"], 0)

    def test_list_and_show_tell_host_tags_and_paths(self):
        taken = self.snapshot("--host", "node-7", "--tag", "job=nightly", "--tag", "note=a=b", self.src)
        text = self.ok("list").text
        self.assertIn("node-7", text)
        self.assertIn("job=nightly", text)
        self.assertIn(taken["snapshot_id"][:12], text)
        shown = self.ok("show", taken["snapshot_id"][:10]).text
        self.assertIn(taken["snapshot_id"], shown)
        self.assertIn("note=a=b", shown)
        self.assertIn(self.src, shown)

    def test_ls_shows_everything_or_what_is_below_a_path(self):
        self.snapshot()
        all_paths = self.ok("ls", "-q", "latest").text.splitlines()
        inside = self.src.lstrip("/")
        self.assertIn(f"{inside}/a.txt", all_paths)
        below = self.ok("ls", "-q", "latest", f"{self.src}/sub/").text.splitlines()
        self.assertEqual(below, [f"{inside}/sub", f"{inside}/sub/b.bin"])
        self.assertRegex(self.ok("ls", "latest", f"{inside}/a.txt").text,
                         r"\A-rw-[r-][w-]-[r-][w-]-\s+\d+\s+\d+\s+5\.86 KiB \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+a\.txt\n\Z")

    def test_dump_writes_a_file_or_a_range_of_it(self):
        self.snapshot()
        data = self.read(os.path.join(self.src, "sub/b.bin"))
        path = f"{self.src}/sub/b.bin"
        self.assertEqual(self.ok("dump", "latest", path).out, data)
        for _ in range(20):
            offset = self.random.randrange(len(data) + 1)
            length = self.random.randrange(len(data))
            out = self.ok("dump", "latest", path, "--offset", str(offset), "--length", str(length)).out
            self.assertEqual(out, data[offset:offset + length], f"seed {self.seed}")
        self.assertEqual(self.ok("dump", "latest", path, "--offset", "0x10", "--length", "1K").out,
                         data[16:1040])
        self.assertEqual(self.ok("dump", "latest", path, "--offset", str(len(data))).out, b"")
        self.assertEqual(self.ok("dump", "latest", path, "--length", "0").out, b"")

    def test_check_finds_a_new_repository_clean(self):
        self.snapshot()
        self.assertIn("no damage found", self.ok("check").text)
        self.assertIn("no damage found", self.ok("check", "--read-data").text)
        self.assertIn("no damage found", self.ok("check", "--read-data", "--sample", "50%").text)

    def test_bench_measures_given_data_and_leaves_nothing_behind(self):
        self.write("data", self.random.randbytes(300_000))
        work = os.path.join(self.dir, "work")
        os.mkdir(work)
        text = self.ok("bench", self.src, "--work", work, "--runs", "1").text
        for name in ("first", "cold", "zstd -1", "index: hits", "peak memory"):
            self.assertIn(name, text)
        results = self.ok("--json", "bench", os.path.join(self.src, "data"), "--work", work,
                          "--runs", "3").lines
        by_name = {(r["group"], r["name"]): r for r in results if r["message_type"] == "result"}
        first = by_name["snapshot", "first"]
        self.assertEqual(len(first["samples"]), 3)
        self.assertTrue(0 < first["min"] <= first["median"] <= first["max"])
        self.assertEqual(first["bytes"], 300_000)
        self.assertIn(("snapshot", "changed blocks, 1 %"), by_name)
        self.assertEqual(os.listdir(work), [])

    def test_bench_refuses_what_it_cannot_measure(self):
        self.one_line_error(2, "bench", self.src + "/none", contains=["no such file"])
        self.one_line_error(2, "bench", self.src, "--work", "/dev/null", contains=["--work"])
        self.one_line_error(2, "bench", contains=["PATH"])

    def test_stats_counts_what_is_there(self):
        self.snapshot()
        self.snapshot()
        stats = self.ok("--json", "stats").message("stats")
        self.assertEqual(stats["snapshots"], 2)
        self.assertEqual(stats["bytes_logical"], 612_000)
        self.assertGreater(stats["bytes_stored"], 300_000)
        self.assertLess(stats["bytes_stored"], 400_000)
        self.assertIn("snapshots", self.ok("stats").text)

    def test_the_index_may_be_deleted_and_is_rebuilt(self):
        first = self.snapshot()
        harness.shutil.rmtree(os.path.join(self.dir, "cache"), ignore_errors=True)
        self.assertEqual(self.snapshot("--parent", "none", self.src)["bytes_new"], 0)
        done = self.ok("--json", "repair", "index").message("summary")
        self.assertGreater(done["packs_read"], 0)
        self.assertEqual(self.snapshot("--parent", "none", self.src)["bytes_new"], 0)
        self.ok("restore", first["snapshot_id"], "--target", self.target())

    def test_global_options_stand_before_or_after_the_command(self):
        env = self.environment()
        del env["SNAPSTORE_REPOSITORY"]
        for args in (["-r", self.repo, "--io", "threads", "list", "--json"],
                     ["list", "--json", "--repo", self.repo, "--memory-limit", "256M"],
                     ["list", "--json", f"--repo=file://{self.repo}", "--threads", "1"]):
            self.assertEqual(self.ok(*args, env=env).text, "[]\n")

    def test_excluded_paths_are_left_out(self):
        self.write("sub/skip.tmp", b"x")
        self.snapshot("--exclude", "*.tmp", "--exclude", "*/a.txt", self.src)
        names = [os.path.basename(p) for p in self.ok("ls", "-q", "latest").text.splitlines()]
        self.assertIn("b.bin", names)
        self.assertNotIn("skip.tmp", names)
        self.assertNotIn("a.txt", names)

    def test_paths_that_look_like_options_commands_or_lists_are_paths(self):
        names = ["-x", "--json", "list", "[a,b]", "{}", "++", "help"]
        for name in names:
            self.write(name, name.encode())
        self.snapshot("-q", "--", *names, cwd=self.src)
        self.snapshot("list", "[a,b]", "{}", "++", "help", cwd=self.src)
        for name in ("list", "[a,b]", "{}", "++", "help"):
            self.assertEqual(self.ok("dump", "latest", f"{self.src}/{name}").out, name.encode())

    @unittest.skipUnless(harness.IS_ROOT, "needs root to mount")
    def test_one_file_system_stays_on_it(self):
        mount = os.path.join(self.src, "mnt")
        os.mkdir(mount)
        harness.run_tool("mount", "-t", "tmpfs", "none", mount)
        self.addCleanup(harness.run_tool, "umount", mount)
        self.write("mnt/inside", b"x")
        self.snapshot("--one-file-system", self.src)
        paths = self.ok("ls", "-q", "latest").text.splitlines()
        self.assertNotIn(f"{mount}/inside".lstrip("/"), paths)
        self.snapshot()
        paths = self.ok("ls", "-q", "latest").text.splitlines()
        self.assertIn(f"{mount}/inside".lstrip("/"), paths)


if __name__ == "__main__":
    harness.main()
