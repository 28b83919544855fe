"""The shapes promised in docs/json.md."""

import base64
import os
import unittest

import harness

COUNTERS = {"bytes_total": int, "bytes_read": int, "bytes_new": int, "bytes_stored": int,
            "chunks_total": int, "chunks_new": int, "seconds": float, "entries": int, "unreadable": int}
STAGE = {"name": str, "threads": int, "seconds": float, "busy_seconds": float}
TIME = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z"


class Json(harness.CliTest):

    def assert_shape(self, document, shape, optional=()):
        self.assertEqual(set(shape), set(document) - set(optional))
        for key, kind in shape.items():
            self.assertIsInstance(document[key], kind, key)

    def setUp(self):
        super().setUp()
        self.write("f", b"data" * 5000)

    def test_init(self):
        self.repo = os.path.join(self.dir, "second")
        done = self.ok("init", "--json")
        self.assert_shape(done.lines[0], {"message_type": str, "id": str, "repository": str, "encrypted": bool})
        self.assertEqual(len(done.lines[0]["id"]), 32)

    def test_snapshot_summary(self):
        first = self.snapshot("--tag", "a=b", self.src)
        shape = {"message_type": str, "snapshot_id": str, **COUNTERS, "time": str, "host": str,
                 "paths": list, "tags": dict, "stages": list, "store": type(None)}
        self.assert_shape(first, {**shape, "parent_id": type(None)})
        self.assert_shape(self.snapshot(), {**shape, "parent_id": str})
        self.assertRegex(first["snapshot_id"], r"\A[0-9a-f]{64}\Z")
        self.assertEqual(first["tags"], {"a": "b"})
        for stage in first["stages"]:
            self.assert_shape(stage, STAGE)
            self.assertLessEqual(stage["busy_seconds"], stage["threads"] * stage["seconds"] + 0.01)
        self.assertEqual(first["paths"], [self.src])
        self.assertEqual(first["bytes_total"], 20000)
        self.assertGreater(first["chunks_new"], 0)
        self.assertGreaterEqual(first["chunks_total"], first["chunks_new"])
        self.assertRegex(first["time"], TIME)

    def test_the_summary_is_the_last_line(self):
        self.assertEqual(self.ok("--json", "snapshot", self.src).lines[-1]["message_type"], "summary")

    def test_list_is_one_array_oldest_first(self):
        self.assertEqual(self.ok("list", "--json").text, "[]\n")
        ids = [self.snapshot("--host", "h", self.src)["snapshot_id"] for _ in range(3)]
        done = self.ok("list", "--json")
        self.assertEqual(len(done.lines), 1)
        self.assertEqual([s["id"] for s in done.lines[0]], ids)
        self.assert_shape(done.lines[0][1], {"id": str, "time": str, "host": str, "paths": list,
                                             "tags": dict, "bytes_total": int, "parent_id": str})
        self.assertEqual(done.lines[0][0]["parent_id"], None)

    def test_show(self):
        self.snapshot()
        self.assert_shape(self.ok("show", "latest", "--json").lines[0],
                          {"message_type": str, "id": str, "parent_id": type(None), "time": str,
                           "host": str, "user": str, "paths": list, "tags": dict, **COUNTERS})

    def test_ls_entries(self):
        os.symlink("f", os.path.join(self.src, "link"))
        os.link(os.path.join(self.src, "f"), os.path.join(self.src, "second"))
        os.chmod(os.path.join(self.src, "f"), 0o4751)
        os.utime(os.path.join(self.src, "f"), ns=(1, 1_234_567_890_123_456_789))
        self.snapshot()
        done = self.ok("ls", "--json", "latest", self.src)
        self.assertEqual(done.lines[0]["message_type"], "snapshot")
        entries = {os.path.basename(e["path"]): e for e in done.lines[1:]}
        shape = {"message_type": str, "path": str, "type": str, "mode": int, "permissions": str,
                 "uid": int, "gid": int, "size": int, "mtime": str, "ctime": str, "inode": int,
                 "links": int}
        self.assert_shape(entries["f"], shape)
        self.assertEqual(entries["f"]["mode"], 0o4751)
        self.assertEqual(entries["f"]["permissions"], "-rwsr-x--x")
        self.assertEqual(entries["f"]["mtime"], "2009-02-13T23:31:30.123456789Z")
        self.assertEqual(entries["f"]["links"], 2)
        self.assertEqual(entries["f"]["type"], "file")
        self.assert_shape(entries["link"], {**shape, "target": str})
        self.assert_shape(entries["second"], {**shape, "hard_link_to": str})
        self.assertEqual(entries["second"]["hard_link_to"], entries["f"]["path"])
        self.assertEqual(entries["src"]["type"], "dir")

    def test_diff(self):
        before = self.snapshot()["snapshot_id"]
        self.write("f", b"DATA" * 5000)
        after = self.snapshot()["snapshot_id"]
        done = self.ok("diff", "--json", before, after)
        changes = [m for m in done.lines if m["message_type"] == "change" and m["change"] == "content"]
        self.assert_shape(changes[0], {"message_type": str, "path": str, "change": str,
                                       "size_before": int, "size_after": int, "ranges": list})
        self.assertEqual(changes[0]["ranges"], [{"offset": 0, "length": 20000}])
        self.assert_shape(done.message("summary"),
                          {"message_type": str, "before": str, "after": str, "added": int,
                           "removed": int, "changed": int, "bytes_changed": int})

    def test_restore_check_stats_repair_and_version(self):
        self.snapshot()
        self.assert_shape(self.ok("--json", "restore", "latest", "--target", self.target()).message("summary"),
                          {"message_type": str, "snapshot_id": str, "entries": int, "failed": int,
                           "bytes_total": int, "bytes_written": int, "bytes_fetched": int,
                           "seconds": float, "stages": list, "store": type(None)})
        self.assert_shape(self.ok("--json", "check").message("summary"),
                          {"message_type": str, "snapshots": int, "packs": int, "chunks": int,
                           "bytes_read": int, "problems": int, "packs_chosen": int, "packs_read": int,
                           "bytes_packs": int, "store": type(None)})
        self.assert_shape(self.ok("--json", "stats").message("stats"),
                          {"message_type": str, "repository_id": str, "snapshots": int, "packs": int,
                           "encrypted": bool, "index_segments": int, "chunks": int, "bytes_logical": int,
                           "bytes_stored": int, "bytes_packs": int})
        self.assert_shape(self.ok("--json", "repair", "index").message("summary"),
                          {"message_type": str, "packs_read": int, "packs_damaged": int,
                           "packs_published": int, "segments_replaced": int, "segments_wrong": int,
                           "marks_removed": int})
        self.assert_shape(self.ok("--json", "version").message("version"),
                          {"message_type": str, "version": str})

    def test_a_path_that_is_not_utf8_comes_lossy_and_exact(self):
        name = os.path.join(os.fsencode(self.src), b"a\xff\n")
        with open(name, "wb") as f:
            f.write(b"x")
        summary = self.snapshot(name)
        exact = base64.b64encode(name).decode()
        self.assertEqual(summary["paths"], [f"{self.src}/a\ufffd\n"])
        self.assertEqual(summary["paths_base64"], [exact])
        self.assertEqual(self.ok("list", "--json").lines[0][0]["paths_base64"], [exact])
        entry = [m for m in self.ok("ls", "--json", "latest").lines if m.get("type") == "file"][0]
        self.assertEqual(base64.b64decode(entry["path_base64"]), name.lstrip(b"/"))
        self.assertIn(r"a\xff\x0a", self.ok("ls", "latest").text)

    def test_warnings_and_errors_are_json_on_standard_error(self):
        done = self.expect(3, "--json", "snapshot", self.src, f"{self.dir}/gone")
        self.assertEqual(len(done.error_lines), 1)
        self.assert_shape(done.error_lines[0], {"message_type": str, "during": str, "item": str,
                                                "status": str, "message": str})
        self.assertEqual(done.error_lines[0]["message_type"], "error")
        self.assertIn("gone", done.error_lines[0]["item"])
        self.assertEqual(done.message("summary")["unreadable"], 1)

        done = self.expect(1, "--json", "show", "0123456789abcdef")
        self.assertEqual(done.out, b"")
        self.assert_shape(done.error_lines[0], {"message_type": str, "code": int, "status": str,
                                                "message": str})
        self.assertEqual(done.error_lines[0]["message_type"], "exit_error")
        self.assertEqual((done.error_lines[0]["code"], done.error_lines[0]["status"]), (1, "NotFound"))

        done = self.expect(1, "--json", "dump", "latest", "no/such")
        self.assertEqual(done.error_lines[0]["code"], 1)
        self.assertEqual(self.ok("--json", "dump", "latest", f"{self.src}/f").out, b"data" * 5000)

        done = self.expect(2, "snapshot", "--bogus", "--json")
        self.assertEqual(done.error_lines[0]["code"], 2)

    def test_progress_comes_as_status_messages_about_once_a_second(self):
        feed = self.start("--json", "snapshot", "--stdin", "--name", "slow", stdin=-1, stdout=-1, stderr=-1)
        try:
            for _ in range(25):
                feed.stdin.write(self.random.randbytes(1 << 20))
                feed.stdin.flush()
                harness.time.sleep(0.1)
            out, err = feed.communicate(timeout=60)
        finally:
            feed.kill()
            feed.wait()
        done = harness.Done(feed.returncode, out, err)
        self.assertEqual(done.code, 0, err)
        status = [m for m in done.lines if m["message_type"] == "status"]
        self.assertGreaterEqual(len(status), 2)
        self.assertLessEqual(len(status), 8)
        self.assert_shape(status[-1], {"message_type": str, "phase": str, "seconds_elapsed": float,
                                       "bytes_done": int, "bytes_total": int, "items_done": int,
                                       "items_total": int}, optional=["current"])


if __name__ == "__main__":
    harness.main()
