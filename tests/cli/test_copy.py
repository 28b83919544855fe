"""Copies between repositories."""

import os
import signal
import subprocess
import time
import unittest

import harness


class Copy(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.second = os.path.join(self.dir, "second")
        self.ok("-r", self.second, "init")
        self.big = self.write("big", self.random.randbytes(3_000_000))
        for i in range(30):
            self.write(f"d/f{i}", self.random.randbytes(2000))
        os.symlink("big", os.path.join(self.src, "link"))

    def copy(self, *args, code=0, **kwargs):
        return self.expect(code, "--json", "copy", "--to", self.second, *args, **kwargs)

    def change(self):
        with open(self.big, "r+b") as f:
            f.seek(1_500_000)
            f.write(self.random.randbytes(100))

    def trees_are_same(self, repository, snapshot):
        target = self.target(f"out-{snapshot[:8]}")
        self.ok("-r", repository, "restore", snapshot, "--target", target)
        done = subprocess.run(["diff", "-r", "--no-dereference", self.src, self.restored(self.src, target)],
                              stdout=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout.decode())

    def test_a_copy_restores_to_the_same_and_says_what_it_is(self):
        first = self.snapshot("--tag", "job=nightly", "--host", "db1", self.src)
        done = self.copy()
        copied = done.message("copied")
        self.assertEqual((copied["outcome"], copied["source_id"]), ("copied", first["snapshot_id"]))
        self.assertEqual(done.message("summary")["copied"], 1)
        self.trees_are_same(self.second, copied["snapshot_id"])
        shown = self.ok("-r", self.second, "--json", "show", "latest").lines[0]
        self.assertEqual(shown["original_id"], first["snapshot_id"])
        for key in ("time", "host", "paths", "tags", "bytes_total", "entries"):
            self.assertEqual(shown[key], first[key], key)
        self.assertIn("copy of", self.ok("-r", self.second, "show", "latest").text)
        self.ok("-r", self.second, "check", "--read-data")

    def test_the_second_costs_its_difference_and_the_third_time_nothing(self):
        self.snapshot()
        first = self.copy().message("summary")
        self.assertGreater(first["bytes_new"], 3_000_000)
        self.change()
        self.snapshot()
        second = self.copy().message("summary")
        self.assertEqual((second["copied"], second["existed"]), (1, 1))
        self.assertLess(second["bytes_stored"], 200_000)
        again = self.copy().message("summary")
        self.assertEqual((again["copied"], again["existed"], again["bytes_read"]), (0, 2, 0))
        text = self.ok("copy", "--to", self.second).text
        self.assertIn("0 snapshots copied, 2 were there", text)

    def test_snapshots_are_chosen_by_id_host_and_tag(self):
        one = self.snapshot("--host", "a", "--tag", "job=x", self.src)["snapshot_id"]
        two = self.snapshot("--host", "a", "--tag", "job=y", self.src)["snapshot_id"]
        three = self.snapshot("--host", "b", "--tag", "job=x", self.src)["snapshot_id"]
        sources = lambda done: [m["source_id"] for m in done.lines if m["message_type"] == "copied"]
        self.assertEqual(sources(self.copy("--host", "nobody")), [])
        self.assertEqual(sources(self.copy("--host", "a", "--tag", "job=y")), [two])
        self.assertEqual(sources(self.copy(three[:12])), [three])
        self.assertEqual(sources(self.copy("--tag", "job=x")), [one, three])

    def test_damage_is_named_and_the_rest_copied(self):
        self.snapshot()
        path = self.write("other", self.random.randbytes(50_000))
        whole = self.snapshot("--parent", "none", path)["snapshot_id"]
        packs = [os.path.join(d, n) for d, _, names in os.walk(os.path.join(self.repo, "data")) for n in names]
        os.unlink(max(packs, key=os.path.getsize))
        done = self.copy(code=13)
        outcomes = {m["source_id"]: m["outcome"] for m in done.lines if m["message_type"] == "copied"}
        self.assertEqual(outcomes.pop(whole), "copied")
        self.assertEqual(list(outcomes.values()), ["damaged"])
        self.assertIn(self.big.lstrip("/"), " ".join(e["item"] for e in done.error_lines))

    def test_bad_input_is_refused_with_one_line(self):
        self.snapshot()
        self.expect(2, "copy")
        self.one_line_error(10, "copy", "--to", self.target("nowhere"), contains=["no repository"])
        self.one_line_error(1, "copy", "--to", self.repo, contains=["the same repository"])
        self.one_line_error(1, "copy", "--to", self.second, "abcdef12", contains=["no snapshot"])
        self.one_line_error(2, "copy", "--to", self.second, "--to-o", "x", contains=["--to-o"])

    def test_like_shares_ids_and_encrypted_ones_have_their_own_passwords(self):
        self.snapshot()
        vault = os.path.join(self.dir, "vault")
        env = self.environment()
        self.ok("-r", vault, "init", "--like", self.repo, "--encrypt", env={**env, "SNAPSTORE_PASSWORD": "two"})
        self.one_line_error(12, "copy", "--to", vault, env={**env, "SNAPSTORE_PASSWORD2": "wrong"})
        self.one_line_error(12, "copy", "--to", vault, contains=["SNAPSTORE_PASSWORD2"])
        self.one_line_error(12, "copy", "--to", self.second, env={**env, "SNAPSTORE_PASSWORD2": "two"})
        both = {**env, "SNAPSTORE_PASSWORD2": "two"}
        done = self.expect(0, "--json", "copy", "--to", vault, env=both).message("summary")
        self.assertTrue(done["same_ids"])
        self.assertFalse(self.copy().message("summary")["same_ids"])
        # The other way round, with a file, into a third one like the second.
        password = self.write("../password", b"two\n")
        third = os.path.join(self.dir, "third")
        self.ok("-r", third, "init", "--like", vault, "--like-password-file", password)
        back = self.expect(0, "-r", vault, "--json", "copy", "--to", third,
                           env={**env, "SNAPSTORE_PASSWORD_FILE": password}).message("summary")
        self.assertEqual((back["copied"], back["same_ids"]), (1, True))
        self.trees_are_same(third, self.ok("-r", third, "--json", "list").lines[0][0]["id"])
        self.expect(2, "-r", self.target("x"), "init", "--like-password-file", password)
        self.one_line_error(10, "-r", self.target("x"), "init", "--like", self.target("nowhere"))

    def test_a_killed_copy_is_taken_up_again(self):
        for i in range(4):
            self.write(f"large{i}", self.random.randbytes(8_000_000))
        self.snapshot()
        killed = 0
        for attempt in range(8):
            process = self.start("copy", "--to", self.second, "--compression-level", "19",
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # The first before it can be done, on the quickest machine.
            time.sleep(0.02 * attempt + self.random.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        self.ok("-r", self.second, "check", "--read-data")
        self.copy()
        self.assertGreater(killed, 0, f"seed {self.seed}")
        listed = self.ok("-r", self.second, "--json", "list").lines[0]
        self.assertEqual(len(listed), 1)
        self.trees_are_same(self.second, listed[0]["id"])
        self.ok("-r", self.second, "check", "--read-data")


if __name__ == "__main__":
    harness.main()
