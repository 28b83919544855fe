"""Damage to any stored object is found and never restored."""

import os
import unittest

import harness


class Damage(harness.CliTest):

    def setUp(self):
        super().setUp()
        self.file = self.write("f", self.random.randbytes(300_000))
        self.id = self.snapshot()["snapshot_id"]

    def objects(self):
        return sorted(os.path.join(d, name) for d, _, names in os.walk(self.repo) for name in names)

    def flip(self, path, offset):
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            f.seek(offset)
            byte = f.read(1)[0]
            f.seek(offset)
            f.write(bytes([byte ^ (1 << self.random.randrange(8))]))

    def fresh_environment(self):
        env = self.environment()
        env["SNAPSTORE_CACHE_DIR"] = self.target("fresh-cache")
        return env

    def test_a_flipped_byte_anywhere_is_found_by_check(self):
        for path in self.objects():
            good = self.read(path)
            offsets = {0, len(good) - 1, *(self.random.randrange(len(good)) for _ in range(4))}
            for offset in offsets:
                self.flip(path, offset)
                done = self.run_cli("check", "--read-data")
                name = os.path.relpath(path, self.repo)
                self.assertEqual(done.code, 13, f"seed {self.seed}: {name} at {offset}: {done.out} {done.err}")
                with open(path, "wb") as f:
                    f.write(good)
        self.ok("check", "--read-data")

    def test_damaged_content_never_reaches_a_restored_file(self):
        want = self.read(self.file)
        pack = max(self.objects(), key=os.path.getsize)
        good = self.read(pack)
        for round_number in range(8):
            self.flip(pack, self.random.randrange(len(good)))
            target = self.target(f"out{round_number}")
            done = self.run_cli("restore", self.id, "--target", target, env=self.fresh_environment())
            restored = self.restored(self.file, target)
            if done.code == 0:
                # The byte was in the footer, which a restore does not need.
                self.assertEqual(self.read(restored), want)
            else:
                self.assertEqual(done.code, 13, f"seed {self.seed}: {done.err}")
                if os.path.exists(restored):
                    for i, byte in enumerate(self.read(restored)):
                        if byte not in (0, want[i]):
                            self.fail(f"seed {self.seed}: foreign byte at {i}")
                dump = self.run_cli("dump", self.id, self.file, env=self.fresh_environment())
                self.assertEqual(dump.code, 13, dump.err)
                self.assertTrue(want.startswith(dump.out), f"seed {self.seed}")
            with open(pack, "wb") as f:
                f.write(good)

    def test_check_names_the_object_and_what_is_lost(self):
        pack = max(self.objects(), key=os.path.getsize)
        self.flip(pack, 1000)
        done = self.expect(13, "--json", "check", "--read-data")
        problem = [m for m in done.lines if m["message_type"] == "problem"][0]
        self.assertIn(os.path.basename(pack)[:16], problem["object"])
        self.assertIn(f"{self.id}:{self.file.lstrip('/')}", problem["lost_paths"])
        self.assertGreaterEqual(done.message("summary")["problems"], 1)
        text = self.expect(13, "check", "--read-data").text
        self.assertIn("damaged: ", text)
        self.assertIn("lost: ", text)

    def test_a_missing_pack_is_found_without_reading_data(self):
        os.unlink(max(self.objects(), key=os.path.getsize))
        self.expect(13, "check")
        self.assertEqual(self.run_cli("restore", self.id, "--target", self.target()).code, 13)

    def test_list_shows_the_healthy_snapshots_and_ends_with_13(self):
        healthy = self.snapshot("--parent", "none", self.src)["snapshot_id"]
        manifest = [p for p in self.objects() if self.id in p][0]
        self.flip(manifest, os.path.getsize(manifest) // 2)
        done = self.expect(13, "list", "--json")
        self.assertEqual([s["id"] for s in done.lines[0]], [healthy])
        self.assertEqual(done.error_lines[0]["status"], "Corruption")
        self.one_line_error(13, "show", self.id)
        # Nobody knows whether it was the newest.
        latest = self.ok("restore", "latest", "--target", self.target())
        self.assertIn(healthy[:16], latest.err.decode())
        self.assertIn("1 snapshots cannot be read", latest.err.decode())
        other = [p for p in self.objects() if healthy in p][0]
        self.flip(other, os.path.getsize(other) // 2)
        self.expect(13, "restore", "latest", "--target", self.target())

    def test_a_truncated_object_is_found(self):
        for path in self.objects():
            good = self.read(path)
            os.chmod(path, 0o600)
            os.truncate(path, len(good) // 2)
            self.assertEqual(self.run_cli("check").code, 13, path)
            with open(path, "wb") as f:
                f.write(good)
        self.ok("check", "--read-data")


if __name__ == "__main__":
    harness.main()
