"""`snapstore mount` in tests: a mount that is gone when its test ends, however that ends."""

import json
import os
import signal
import subprocess

import harness

HAVE_FUSE = os.path.exists("/dev/fuse") and harness.IS_ROOT
NEEDS_FUSE = "needs root and /dev/fuse"


class MountTest(harness.CliTest):
    """With `self.mnt`, an empty directory."""

    def setUp(self):
        super().setUp()
        self.mnt = self.target("mnt")
        os.mkdir(self.mnt)

    def mount(self, *args, directory=None, **kwargs):
        """The running command, once its mount can be used."""
        directory = directory or self.mnt
        self.addCleanup(subprocess.run, ["umount", "--lazy", directory], stderr=subprocess.DEVNULL)
        log = open(self.target("mount.log"), "ab")
        self.addCleanup(log.close)
        process = self.start("--json", "mount", directory, *args, stdout=subprocess.PIPE,
                             stderr=log, **kwargs)
        self.addCleanup(self.end, process)
        for line in process.stdout:
            message = json.loads(line)
            if message["message_type"] == "mounted":
                self.assertEqual(message["directory"], directory)
                return process
        self.fail(f"no mount: {self.log()}")

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        process.stdout.close()

    def log(self):
        return self.read(self.target("mount.log")).decode()

    def stop(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        self.assertEqual(process.wait(30), 0, self.log())
        self.assertFalse(self.mounted())

    def mounted(self, directory=None):
        with open("/proc/self/mountinfo") as table:
            return any(line.split()[4] == (directory or self.mnt) for line in table)

    def inside(self, path=None, snapshot="latest"):
        """Where `path` (absolute; default: the source) is in the mount."""
        return os.path.join(self.mnt, snapshot, (path or self.src).lstrip("/"))
