"""`snapstore snapshot --ebs-snapshot` of volumes of the embedded cloud, which an instance writes to."""

import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cli")]
import cloud as lab  # noqa: E402  (the folders are known only now)
import harness  # noqa: E402
import mounting  # noqa: E402


@unittest.skipUnless(mounting.HAVE_FUSE, mounting.NEEDS_FUSE)
class EbsBackupTest(mounting.MountTest):
    SIZE = 1 << 30
    cloud = None

    def setUp(self):
        super().setUp()
        self.cloud = lab.Cloud()
        self.addCleanup(self.cloud.close)

    def environment(self):
        env = {k: v for k, v in super().environment().items() if not k.startswith("AWS_")}
        if self.cloud is not None:
            env.update({k: v for k, v in self.cloud.variables.items() if k.startswith("AWS_")})
        env.update(AWS_CONFIG_FILE="/nonexistent", AWS_SHARED_CREDENTIALS_FILE="/nonexistent")
        return env

    def ebs_snapshot(self, volume):
        made = self.cloud.ec2("create-snapshot", "--volume-id", volume)["SnapshotId"]
        lab.wait_for("snapshot completes", lambda: self.cloud.ec2(
            "describe-snapshots", "--snapshot-ids", made)["Snapshots"][0]["State"] == "completed")
        return made

    def back_up(self, snapshot, *args, warning=None):
        done = self.ok("--json", "snapshot", "--ebs-snapshot", snapshot, *args)
        if warning is None:
            self.assertEqual(done.error_text, "")
        else:
            self.assertEqual(len(done.error_lines), 1, done.error_text)
            self.assertIn(warning, done.error_lines[0]["message"])
        return done.message("summary")

    def volume_of(self, snapshot):
        """The file of a new volume, as the cloud restores it from its own snapshot."""
        made = self.cloud.ec2("create-volume", "--snapshot-id", snapshot, "--availability-zone",
                              "us-east-1a")["VolumeId"]
        lab.wait_for("the volume", lambda: self.cloud.volume(made)["State"] == "available")
        return os.path.join(self.cloud.folder, "volumes", made + ".img")

    def listed(self, kind, *args):
        answer = self.cloud.aws("ebs", kind, *args)
        return [block["BlockIndex"] for block in answer.get("ChangedBlocks", answer.get("Blocks"))]

    def test_two_snapshots_of_a_volume_that_an_instance_writes_to(self):
        instance = self.cloud.launch("--block-device-mappings", json.dumps(
            [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}]))
        self.cloud.wait_state(instance, "running")
        self.cloud.inside(instance, "mkdir /data && mount /dev/sdf /data && cd /data && "
                                    "dd if=/dev/urandom of=big bs=1M count=24 status=none && "
                                    "echo one > small && mkdir d && cp small d/copy && sync")
        volume = [mapping["Ebs"]["VolumeId"]
                  for mapping in self.cloud.instance(instance)["BlockDeviceMappings"]
                  if mapping["DeviceName"] == "/dev/sdf"][0]
        first = self.ebs_snapshot(volume)
        self.cloud.inside(instance, "cd /data && dd if=/dev/urandom of=big bs=64k seek=100 count=1 "
                                    "conv=notrunc status=none && rm d/copy && echo two > d/new")
        sums = self.cloud.inside(instance, "cd /data && find . -type f | sort | xargs sha256sum")
        second = self.ebs_snapshot(volume)

        summary = self.back_up(first, "--tag", "job=test")
        self.assertEqual(summary["paths"], [volume])
        self.assertEqual(summary["tags"], {"job": "test", "snapstore.ebs.snapshot": first,
                                           "snapstore.ebs.volume": volume})
        self.assertEqual((summary["bytes_total"], summary["ebs_blocks_total"]), (self.SIZE, 2048))
        self.assertIsNone(summary["ebs_changed_since"])
        written = self.listed("list-snapshot-blocks", "--snapshot-id", first)
        self.assertEqual(summary["ebs_blocks_read"], len(written))
        self.assertEqual(summary["bytes_read"], len(written) << 19)

        later = self.back_up(second)
        changed = self.listed("list-changed-blocks", "--first-snapshot-id", first,
                              "--second-snapshot-id", second)
        self.assertEqual(later["parent_id"], summary["snapshot_id"])
        self.assertEqual(later["ebs_changed_since"], first)
        self.assertLessEqual(later["ebs_blocks_read"], len(changed))
        self.assertLess(later["bytes_read"], summary["bytes_read"] // 2)
        print(f"bytes read: first {summary['bytes_read']}, second {later['bytes_read']}; "
              f"new in the repository: {summary['bytes_new']}, {later['bytes_new']}",
              file=sys.stderr)

        for taken, snapshot in ((summary, first), (later, second)):
            out = self.target(snapshot)
            self.ok("restore", taken["snapshot_id"], "--to", out)
            self.assertEqual(os.stat(out).st_size, self.SIZE)
            harness.run_tool("cmp", out, self.volume_of(snapshot))
            harness.run_tool("e2fsck", "-fn", out)
        self.ok("check", "--read-data")
        self.ok("diff", summary["snapshot_id"], later["snapshot_id"])

        self.mount()
        image = os.path.join(self.mnt, "latest", volume)
        harness.run_tool("cmp", image, self.target(second))
        inner = self.target("inner")
        os.mkdir(inner)
        # Mounted where nobody else sees it, and only as long as it is looked at.
        found = subprocess.run(
            ["unshare", "--mount", "sh", "-c", 'mount -o ro,loop,noload "$1" "$2" && cd "$2" && '
             "find . -type f | sort | xargs sha256sum", "sh", image, inner],
            capture_output=True, text=True, check=True, timeout=60).stdout
        self.assertEqual(found, sums)

        # Without the earlier EBS snapshot the next one is read whole, and nothing is stored twice.
        third = self.ebs_snapshot(volume)
        self.cloud.ec2("delete-snapshot", "--snapshot-id", second)
        whole = self.back_up(third, warning=second)
        self.assertIsNone(whole["ebs_changed_since"])
        self.assertGreaterEqual(whole["ebs_blocks_read"], len(written) - 1)
        self.assertLess(whole["bytes_new"], later["bytes_read"])
        self.ok("check")

    def test_what_cannot_be_backed_up_is_refused(self):
        self.one_line_error(2, "snapshot", "--ebs-snapshot", "snap-1", contains=["snap-1"])
        self.one_line_error(2, "snapshot", "--ebs-snapshot", "", contains=["--ebs-snapshot"])
        self.one_line_error(2, "snapshot", "--ebs-snapshot", "snap-01234567", self.src,
                            contains=["goes alone"])
        self.one_line_error(2, "snapshot", self.src, "--tag", "snapstore.ebs.volume=vol-1",
                            contains=["snapstore.ebs.volume"])
        self.one_line_error(1, "snapshot", "--ebs-snapshot", "snap-01234567",
                            contains=["InvalidSnapshot.NotFound"])
        env = self.environment()
        del env["AWS_REGION"]
        env.pop("AWS_DEFAULT_REGION", None)
        self.one_line_error(2, "snapshot", "--ebs-snapshot", "snap-01234567", env=env,
                            contains=["AWS_REGION"])
        self.assertEqual(json.loads(self.ok("--json", "list").text), [])

    def test_a_volume_that_nobody_used(self):
        volume = self.cloud.ec2("create-volume", "--size", "1", "--availability-zone",
                                "us-east-1a")["VolumeId"]
        lab.wait_for("the volume", lambda: self.cloud.volume(volume)["State"] == "available")
        snapshot = self.ebs_snapshot(volume)
        self.back_up(snapshot, "--name", "disks/data")
        out = self.target()
        self.ok("restore", "latest", "--path", "disks/data", "--to", out)
        harness.run_tool("cmp", out, self.volume_of(snapshot))
        harness.run_tool("e2fsck", "-fn", out)
        self.assertEqual(self.back_up(snapshot, "--name", "disks/data")["ebs_blocks_read"], 0)


if __name__ == "__main__":
    unittest.main()
