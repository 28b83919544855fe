"""diff tells exactly the edits that were made."""

import os
import unittest

import harness


class Diff(harness.CliTest):

    def diff(self, before, after):
        done = self.ok("--json", "diff", before, after)
        strip = len(self.src.lstrip("/")) + 1
        changes = {m["path"][strip:]: m for m in done.lines if m["message_type"] == "change"}
        return changes, done.message("summary")

    def setUp(self):
        super().setUp()
        self.data = self.random.randbytes(4 << 20)
        for name in ("edited", "grown", "shrunk", "same", "touched", "moded", "gone", "retyped"):
            self.write(name, self.data if name in ("edited", "grown", "shrunk") else name.encode())
        self.write("dir/gone-too", b"x")
        self.first = self.snapshot()["snapshot_id"]

    def edit(self):
        with open(f"{self.src}/edited", "r+b") as f:
            f.seek(1_000_000)
            f.write(b"EDIT")
            f.seek(3_000_000)
            f.write(b"EDIT")
        with open(f"{self.src}/grown", "ab") as f:
            f.write(b"tail")
        os.truncate(f"{self.src}/shrunk", 2 << 20)
        os.utime(f"{self.src}/touched", ns=(1, 2))
        os.chmod(f"{self.src}/moded", 0o4711)
        os.unlink(f"{self.src}/gone")
        os.unlink(f"{self.src}/dir/gone-too")
        os.rmdir(f"{self.src}/dir")
        os.unlink(f"{self.src}/retyped")
        os.symlink("same", f"{self.src}/retyped")
        self.write("new/file", b"new!")
        return self.snapshot()["snapshot_id"]

    def test_every_edit_is_listed_once_and_nothing_else(self):
        changes, summary = self.diff(self.first, self.edit())
        kinds = {path: change["change"] for path, change in changes.items() if path}
        self.assertEqual(kinds, {
            "edited": "content", "grown": "content", "shrunk": "content", "touched": "metadata",
            "moded": "metadata", "gone": "removed", "dir": "removed", "dir/gone-too": "removed",
            "retyped": "type", "new": "added", "new/file": "added"})
        self.assertEqual((summary["added"], summary["removed"]), (2, 3))
        self.assertEqual((changes["grown"]["size_before"], changes["grown"]["size_after"]),
                         (4 << 20, (4 << 20) + 4))

    def test_ranges_cover_what_was_edited_and_little_more(self):
        changes, _ = self.diff(self.first, self.edit())
        ranges = [(r["offset"], r["offset"] + r["length"]) for r in changes["edited"]["ranges"]]
        self.assertEqual(ranges, sorted(ranges))
        for at in (1_000_000, 3_000_000):
            self.assertTrue(any(begin <= at and at + 4 <= end for begin, end in ranges), ranges)
        self.assertLess(sum(end - begin for begin, end in ranges), 600_000)
        ranges = [(r["offset"], r["offset"] + r["length"]) for r in changes["grown"]["ranges"]]
        self.assertEqual(ranges[-1][1], (4 << 20) + 4)
        self.assertLess(sum(end - begin for begin, end in ranges), 200_000)

    def test_the_other_way_round_mirrors(self):
        second = self.edit()
        forward, _ = self.diff(self.first, second)
        backward, _ = self.diff(second, self.first)
        mirror = {"added": "removed", "removed": "added"}
        self.assertEqual({p: c["change"] for p, c in backward.items()},
                         {p: mirror.get(c["change"], c["change"]) for p, c in forward.items()})

    def test_a_snapshot_does_not_differ_from_itself_or_an_unchanged_one(self):
        second = self.snapshot()["snapshot_id"]
        for before, after in ((self.first, self.first), (self.first, second)):
            changes, summary = self.diff(before, after)
            self.assertEqual(changes, {})
            self.assertEqual(summary["bytes_changed"], 0)

    def test_text_output_has_one_line_a_change(self):
        text = self.ok("diff", self.first, self.edit()).text
        base = self.src.lstrip("/")
        lines = text.splitlines()
        for line in (f"+ {base}/new/file", f"- {base}/gone", f"U {base}/moded", f"T {base}/retyped"):
            self.assertIn(line, lines)
        self.assertRegex(text, rf"(?m)^M {base}/edited  .* in \d ranges?$")
        self.assertRegex(lines[-1], r"2 added, 3 removed, \d+ changed, .* differ")

    def test_verbose_lists_ranges_that_changed_blocks_accepts(self):
        changes, _ = self.diff(self.first, self.edit())
        text = self.ok("-v", "diff", self.first, "latest").text
        for r in changes["edited"]["ranges"]:
            self.assertIn(f"    {r['offset']} {r['length']}\n", text)


if __name__ == "__main__":
    harness.main()
