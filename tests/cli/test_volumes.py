"""Image files and block devices."""

import os
import unittest

import harness


@unittest.skipUnless(harness.IS_ROOT, "needs root for loop devices")
class Volumes(harness.CliTest):

    SIZE = 64 << 20

    def setUp(self):
        super().setUp()
        self.image = os.path.join(self.src, "volume.img")
        with open(self.image, "wb") as f:
            f.truncate(self.SIZE)
        tree = self.target("tree")
        for i in range(200):
            self.write(f"f{i}", self.random.randbytes(self.random.randrange(50_000)), root=tree)
        harness.run_tool("mkfs.ext4", "-q", "-F", "-d", tree, self.image)

    def loop(self, path):
        device = harness.run_tool("losetup", "--find", "--show", path).decode().strip()
        self.addCleanup(harness.run_tool, "losetup", "--detach", device)
        return device

    def edit(self, path, offsets):
        fd = os.open(path, os.O_WRONLY)
        for offset in offsets:
            os.pwrite(fd, self.random.randbytes(4096), offset)
        os.fsync(fd)
        os.close(fd)

    def test_an_image_file_comes_back_sparse_and_exact(self):
        summary = self.snapshot(self.image)
        self.assertEqual(summary["bytes_total"], self.SIZE)
        self.assertLess(summary["bytes_read"], self.SIZE // 2)
        self.ok("restore", "latest", "--to", self.target())
        self.assertEqual(self.read(self.target()), self.read(self.image))
        self.assertLessEqual(os.stat(self.target()).st_blocks, os.stat(self.image).st_blocks + 64)
        harness.run_tool("fsck.ext4", "-fn", self.target())

    def test_a_block_device_is_stored_with_its_content(self):
        device = self.loop(self.image)
        self.snapshot(device)
        entry = [m for m in self.ok("--json", "ls", "latest").lines if m.get("type") == "volume"]
        self.assertEqual(entry[0]["size"], self.SIZE)
        self.assertEqual(self.ok("dump", "latest", device).out, self.read(self.image))
        blank = self.target("blank")
        with open(blank, "wb") as f:
            f.write(b"\xaa" * self.SIZE)  # what is a hole in the snapshot must be overwritten
        other = self.loop(blank)
        self.ok("restore", "latest", "--path", device, "--to", other)
        with open(other, "rb") as f:
            os.fsync(f.fileno())
            self.assertEqual(f.read(), self.read(self.image))

    def test_a_device_that_is_too_small_is_refused(self):
        device = self.loop(self.image)
        self.snapshot(device)
        small = self.target("small")
        with open(small, "wb") as f:
            f.truncate(self.SIZE // 2)
        other = self.loop(small)
        self.one_line_error(1, "restore", "latest", "--to", other, contains=[other])
        self.assertEqual(self.read(small), bytes(self.SIZE // 2))

    def test_changed_blocks_limit_what_is_read(self):
        for source in (self.image, self.loop(self.image)):
            first = self.snapshot("--profile", "aligned", source)
            offsets = [8 << 20, 9 << 20, 40 << 20]
            self.edit(source, offsets)
            blocks = self.target("blocks")
            with open(blocks, "w") as f:
                f.write("# changed\n" + "".join(f"{o:#x} 4096\n" for o in offsets))
            second = self.snapshot("--profile", "aligned", "--changed-blocks", blocks, source)
            self.assertEqual(second["parent_id"], first["snapshot_id"])
            self.assertLess(second["bytes_read"], 1 << 20)
            self.assertGreater(second["bytes_new"], 0)
            with open(source, "rb") as f:
                self.assertEqual(self.ok("dump", "latest", source).out, f.read())
            ranges = [m for m in self.ok("--json", "diff", first["snapshot_id"], "latest").lines
                      if m.get("change") == "content"][0]["ranges"]
            for offset in offsets:
                self.assertTrue(any(r["offset"] <= offset and
                                    offset + 4096 <= r["offset"] + r["length"] for r in ranges), ranges)

    def test_an_empty_list_of_changed_blocks_takes_all_from_the_parent(self):
        first = self.snapshot(self.image)
        blocks = self.write("blocks", b"", root=self.dir)
        second = self.snapshot("--changed-blocks", blocks, self.image)
        self.assertEqual((second["bytes_read"], second["bytes_new"]), (0, 0))
        self.assertEqual(second["bytes_total"], first["bytes_total"])
        self.assertEqual(self.ok("dump", "latest", self.image).out, self.read(self.image))

    def test_the_next_version_stores_only_what_changed(self):
        self.snapshot(self.image)
        self.edit(self.image, [5 << 20, 20 << 20])
        second = self.snapshot(self.image)
        self.assertLess(second["bytes_new"], 256 << 10)
        self.assertEqual(self.ok("dump", "latest", self.image).out, self.read(self.image))

    def test_in_place_on_an_image_writes_only_what_differs(self):
        self.snapshot(self.image)
        before = self.read(self.image)
        self.edit(self.image, [7 << 20])
        summary = self.ok("--json", "restore", "latest", "--in-place").message("summary")
        self.assertLess(summary["bytes_written"], 256 << 10)
        self.assertEqual(self.read(self.image), before)


if __name__ == "__main__":
    harness.main()
