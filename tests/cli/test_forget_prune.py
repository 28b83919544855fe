"""forget and prune as somebody at a terminal, or a script, meets them."""

import os
import shutil

import compare
import harness


class ForgetPrune(harness.CliTest):

    def stored(self):
        return sum(os.path.getsize(os.path.join(folder, name))
                   for folder, _, names in os.walk(self.repo) for name in names)

    def ids(self):
        return [s["id"] for s in self.ok("list", "--json").lines[0]]

    def take(self, count):
        ids = []
        for _ in range(count):
            self.write("file", self.random.randbytes(300_000))
            ids.append(self.snapshot()["snapshot_id"])
        return ids

    def test_forgets_by_policy_and_gives_space_back(self):
        ids = self.take(5)
        before = self.stored()
        done = self.ok("--json", "forget", "--keep-last", "2", "--prune")
        kept = {d["snapshot_id"]: d["reasons"] for d in done.lines
                if d["message_type"] == "decision" and d["keep"]}
        self.assertEqual(kept, {ids[3]: ["last"], ids[4]: ["last"]})
        forget, prune = [m for m in done.lines if m["message_type"] == "summary"]
        self.assertEqual(forget["forgotten"], 3)
        plan = done.message("plan")
        self.assertGreaterEqual(plan["packs_delete"], 3)
        self.assertTrue(prune["finished"])
        self.assertGreater(prune["bytes_deleted"], 900_000)
        self.assertLess(self.stored(), before - 900_000)
        self.assertEqual(self.ids(), ids[3:])
        self.ok("check", "--read-data")
        self.ok("restore", "latest", "--target", self.target())
        compare.assert_same_tree(self, self.src, self.restored(self.src))

    def test_a_dry_run_changes_nothing(self):
        ids = self.take(3)
        before = self.stored()
        done = self.ok("forget", "--keep-last", "1", "--dry-run", "--prune")
        self.assertIn("2 snapshots would be forgotten", done.text)
        self.assertIn("keep", done.text)
        self.assertEqual(self.ids(), ids)
        self.ok("prune", "--dry-run")
        self.assertEqual(self.stored(), before)

    def test_forgets_by_id(self):
        ids = self.take(3)
        self.ok("forget", ids[0][:12], "latest")
        self.assertEqual(self.ids(), [ids[1]])
        self.one_line_error(1, "forget", ids[0], contains=[ids[0][:8]])

    def test_refuses_to_run_without_saying_what_to_keep(self):
        ids = self.take(1)
        for arguments in ([], ["--keep-last", "0"], ["--keep-daily", "0", "--keep-yearly", "0"],
                          ["--keep-within", "0d"], ["--keep-last", "0", "--dry-run"],
                          ["--keep-last", "0", "--prune"], ["--host", "h"], ["--keep-last", "-1"],
                          ["--keep-within", "soon"], ["--keep-tag", "x"], ["--group-by", "x", "--keep-last", "1"],
                          [ids[0], "--keep-last", "1"]):
            self.one_line_error(2, "forget", *arguments)
        self.one_line_error(2, "forget", "--keep-last", "0", contains=["nothing says what to keep"])
        # The line is wrong wherever the repository is, if it is anywhere.
        self.one_line_error(2, "-r", self.target("none"), "forget", "--keep-last", "0")
        self.assertEqual(self.ids(), ids)

    def test_refuses_a_policy_that_would_keep_nothing_of_a_group(self):
        self.snapshot("--tag", "a=b", self.src)
        self.write("other/x", b"x")
        self.snapshot(os.path.join(self.src, "other"))
        before = self.ids()
        for more in ([], ["--dry-run"], ["--prune"]):
            self.one_line_error(1, "forget", "--keep-tag", "a=b", *more,
                                contains=["none", "nothing was forgotten"])
        self.assertEqual(self.ids(), before)

    def test_filters_choose_the_snapshots_that_a_policy_is_for(self):
        for _ in range(2):
            self.snapshot("--tag", "kind=test", self.src)
        self.snapshot()
        self.ok("forget", "--keep-last", "1", "--tag", "kind=test")
        self.assertEqual(len(self.ids()), 2)
        self.ok("forget", "--keep-last", "1", "--path", self.src, "--host", "nobody-here")
        self.assertEqual(len(self.ids()), 2)

    def test_prune_says_first_what_it_will_do(self):
        self.take(2)
        self.ok("forget", "--keep-last", "1")
        lines = self.ok("prune").text.splitlines()
        self.assertIn("snapshots need", lines[0])
        self.assertIn("to delete", lines[1])
        self.assertIn("DELETE requests", lines[2])
        self.assertTrue(lines[-1].startswith("deleted"))
        self.one_line_error(2, "prune", "--max-unused", "many")
        self.one_line_error(2, "prune", "--max-repack-bytes", "x")

    def test_prune_refuses_a_damaged_repository(self):
        self.take(1)
        shutil.rmtree(os.path.join(self.repo, "data"))
        os.mkdir(os.path.join(self.repo, "data"))
        before = self.stored()
        self.one_line_error(13, "prune", contains=["nothing was deleted"])
        self.assertEqual(self.stored(), before)


if __name__ == "__main__":
    harness.main()
