"""Damaged repositories, one of each kind, and what repair makes of them."""

import os
import subprocess
import time
import unittest

import harness


class Repair(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.good = self.write("good", self.random.randbytes(100_000))
        self.first = self.snapshot()["snapshot_id"]
        before = set(self.objects("data"))
        self.bad = self.write("bad", self.random.randbytes(3_000_000))
        self.second = self.snapshot()["snapshot_id"]
        self.pack = max(set(self.objects("data")) - before, key=os.path.getsize)

    def objects(self, kind):
        return sorted(os.path.join(d, n) for d, _, names in os.walk(os.path.join(self.repo, kind)) for n in names)

    def flip(self, path, offset):
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            f.seek(offset)
            byte = f.read(1)[0]
            f.seek(offset)
            f.write(bytes([byte ^ 1]))

    def repair(self, *args, code=13):
        done = self.expect(code, "--json", "repair", "snapshots", *args)
        return (done, [m for m in done.lines if m["message_type"] == "loss"],
                [m for m in done.lines if m["message_type"] == "repaired"])

    def test_a_whole_repository_needs_no_repair(self):
        before = {p: self.read(p) for p in self.objects("")}
        done, losses, repaired = self.repair("--read-data", "--forget", code=0)
        self.assertEqual((losses, repaired, done.message("summary")["damaged"]), ([], [], 0))
        self.assertEqual({p: self.read(p) for p in self.objects("")}, before)

    def test_lost_pack(self):
        os.unlink(self.pack)
        _, told, _ = self.repair("--dry-run")
        self.assertEqual(len(self.objects("snapshots")), 2)
        _, losses, repaired = self.repair()
        self.assertEqual(losses, told)
        self.assertEqual([m["path"] for m in losses], [self.bad.lstrip("/")])
        self.assertEqual(losses[0]["ranges"], [{"offset": 0, "length": 3_000_000}])
        self.assertEqual(repaired[0]["damaged_id"], self.second)
        new = repaired[0]["snapshot_id"]
        self.ok("check", "--read-data", new)
        self.expect(13, "check")
        self.ok("restore", new, "--target", self.target())
        self.assertEqual(os.listdir(self.restored(self.src)), ["good"])
        self.assertEqual(self.ok("--json", "show", new).lines[0]["repaired_from"], self.second)
        text = self.expect(0, "repair", "snapshots", "--forget").text
        self.assertIn("removed", text)
        self.ok("check", "--read-data")

    def test_flipped_frame_and_a_kept_file(self):
        self.flip(self.pack, 700_000)
        self.ok("repair", "snapshots")
        done, losses, repaired = self.repair("--read-data", "--keep-damaged", "--forget")
        self.assertEqual(len(losses), 1)
        self.assertTrue(losses[0]["kept"])
        self.assertTrue(repaired[0]["forgotten"])
        self.ok("check", "--read-data")
        restored = self.expect(13, "restore", repaired[0]["snapshot_id"], "--target", self.target())
        self.assertIn("zeros stand in place", restored.error_text)
        want = bytearray(self.read(self.bad))
        for r in losses[0]["ranges"]:
            want[r["offset"]:r["offset"] + r["length"]] = bytes(r["length"])
        self.assertEqual(self.read(self.restored(self.bad)), bytes(want))
        self.assertEqual(done.message("summary")["packs_removed"], 1)

    def test_damaged_footer_costs_nothing(self):
        self.flip(self.pack, os.path.getsize(self.pack) - 40)
        self.expect(13, "check")
        done, losses, _ = self.repair("--forget", code=0)
        self.assertEqual(losses, [])
        self.assertGreater(done.message("summary")["chunks_salvaged"], 0)
        self.ok("check", "--read-data")
        self.ok("restore", self.second, "--target", self.target())
        self.assertEqual(self.read(self.restored(self.bad)), self.read(self.bad))

    def test_the_next_snapshot_heals_what_was_lost(self):
        os.unlink(self.pack)
        self.repair()
        self.snapshot()
        self.ok("check", "--read-data", self.second)
        self.ok("restore", self.second, "--target", self.target())
        self.assertEqual(self.read(self.restored(self.bad)), self.read(self.bad))

    def test_truncated_manifest(self):
        path = os.path.join(self.repo, "snapshots", self.second)
        os.chmod(path, 0o600)
        os.truncate(path, os.path.getsize(path) // 2)
        _, losses, repaired = self.repair()
        self.assertEqual([(m["kind"], m["snapshot_id"]) for m in losses], [("snapshot", self.second)])
        self.assertIsNone(repaired[0]["snapshot_id"])
        self.assertIn("its manifest cannot be read", self.expect(13, "repair", "snapshots", "--forget").text)
        self.ok("check", "--read-data")
        self.assertEqual([s["id"] for s in self.ok("--json", "list").lines[0]], [self.first])

    def test_lost_and_damaged_segments(self):
        segments = self.objects("index")
        self.flip(segments[0], 30)
        for path in segments[1:]:
            os.unlink(path)
        self.expect(13, "check")
        done = self.ok("--json", "repair", "index").message("summary")
        self.assertEqual((done["segments_replaced"], done["packs_damaged"]), (1, 0))
        self.ok("check", "--read-data")
        env = self.environment()
        env["SNAPSTORE_CACHE_DIR"] = self.target("fresh-cache")
        again = self.expect(0, "--json", "snapshot", "--parent", "none", self.src, env=env).message("summary")
        self.assertEqual(again["chunks_new"], 0)

    def test_segment_that_names_a_lost_pack_is_replaced_so_that_data_is_stored_again(self):
        os.unlink(self.pack)
        self.ok("repair", "index")
        fresh = self.snapshot("--parent", "none", self.src)
        self.assertGreater(fresh["chunks_new"], 0)
        self.ok("check", "--read-data")

    def test_damaged_configuration_is_said_to_be_the_end_and_a_copy_of_it_mends_it(self):
        path = os.path.join(self.repo, "config")
        good = self.read(path)
        self.flip(path, 20)
        for command in (["repair", "index"], ["repair", "snapshots"], ["check"]):
            self.one_line_error(13, *command, contains=["configuration"])
        with open(path, "wb") as f:
            f.write(good)
        self.ok("check")

    def test_only_the_snapshots_named_are_repaired(self):
        os.unlink(self.pack)
        third = self.snapshot("--parent", self.second, self.src)["snapshot_id"]
        _, _, repaired = self.repair(third)
        self.assertEqual([m["damaged_id"] for m in repaired], [third])

    def test_a_killed_repair_is_finished_by_the_next(self):
        for i in range(300):
            self.write(f"more/f{i}", self.random.randbytes(3000))
        self.snapshot()
        os.unlink(self.pack)
        self.flip(self.objects("data")[0], 2000)
        for _ in range(8):
            process = self.start("repair", "snapshots", "--read-data", "--forget",
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(self.random.uniform(0.01, 0.3))
            process.kill()
            process.wait()
        self.assertIn(self.run_cli("repair", "snapshots", "--read-data", "--forget").code, (0, 13))
        self.ok("check", "--read-data")
        for listed in self.ok("--json", "list").lines[0]:
            self.ok("restore", listed["id"], "--target", self.target(listed["id"][:8]))

    def test_options_that_make_no_sense_are_usage_errors(self):
        self.expect(2, "repair", "index", "--forget")
        self.expect(2, "repair", "index", self.first)
        self.expect(2, "repair", "packs")
        self.one_line_error(1, "repair", "snapshots", "abcdef12", contains=["no snapshot"])


if __name__ == "__main__":
    harness.main()
