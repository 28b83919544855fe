"""A check that reads a part of the repository, and one of some snapshots."""

import os
import unittest

import harness


class Check(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.ids = []
        for i in range(8):
            path = self.write(f"f{i}", self.random.randbytes(200_000))
            self.ids.append(self.snapshot("--parent", "none", path)["snapshot_id"])

    def packs(self):
        return sorted(os.path.join(d, n) for d, _, names in os.walk(os.path.join(self.repo, "data")) for n in names)

    def summary(self, *args, code=0):
        return self.expect(code, "--json", "check", *args).message("summary")

    def test_a_sample_is_a_share_and_its_seed_chooses_it_again(self):
        once = self.summary("--read-data", "--sample", "25%")
        self.assertLess(once["packs_read"], once["packs"])
        again = self.summary("--read-data", "--sample", "25%", "--seed", str(once["seed"]))
        self.assertEqual(again["seed"], once["seed"])
        self.assertEqual(again["bytes_read"], once["bytes_read"])
        text = self.ok("check", "--read-data", "--sample", "25%").text
        self.assertIn(f"{once['packs_read']} of {once['packs']} packs were read whole", text)
        self.assertIn("--seed ", text)

    def test_all_parts_together_find_what_one_of_them_must(self):
        victim = self.packs()[3]
        os.chmod(victim, 0o600)
        with open(victim, "r+b") as f:
            f.seek(1000)
            byte = f.read(1)[0]
            f.seek(1000)
            f.write(bytes([byte ^ 1]))
        self.ok("check")
        codes, read = [], 0
        for part in range(1, 8):
            done = self.run_cli("--json", "check", "--read-data", "--sample", f"{part}/7")
            codes.append(done.code)
            read += done.message("summary")["packs_read"]
        self.assertEqual(sorted(codes), [0] * 6 + [13])
        self.assertEqual(read, self.summary()["packs"])

    def test_a_sample_of_bytes_reads_about_that_many(self):
        done = self.summary("--read-data", "--sample", "300K")
        self.assertGreaterEqual(done["packs_read"], 1)
        self.assertLessEqual(done["packs_read"], 4)

    def test_time_that_is_up_is_told(self):
        done = self.summary("--read-data", "--max-seconds", "0.000001")
        self.assertEqual(done["packs_read"], 0)
        self.assertEqual(done["packs_chosen"], done["packs"])
        self.assertIn("time was up", self.ok("check", "--read-data", "--max-seconds", "0.000001").text)

    def test_one_snapshot_is_checked_by_the_packs_it_needs(self):
        one = self.summary("--read-data", self.ids[0])
        self.assertEqual(one["snapshots"], 1)
        self.assertLess(one["packs"], self.summary()["packs"])

    def test_damage_of_another_snapshot_is_no_matter(self):
        for victim in self.packs()[:1]:
            os.unlink(victim)
        codes = [self.run_cli("check", snapshot).code for snapshot in self.ids]
        self.assertEqual(sorted(codes), [0] * 7 + [13])

    def test_senseless_samples_are_usage_errors(self):
        for sample in ("0", "10", "0%", "101%", "0/7", "8/7", "x/7", "3/", "much"):
            self.one_line_error(2, "check", "--read-data", "--sample", sample, contains=["--sample"])
        self.expect(2, "check", "--sample", "5%")
        self.expect(2, "check", "--max-seconds", "5")
        self.one_line_error(1, "check", "abcdef12", contains=["no snapshot"])


if __name__ == "__main__":
    harness.main()
