"""How a mount begins and ends."""

import errno
import os
import signal
import subprocess
import threading
import unittest

import harness
import mounting

MIB = 1 << 20


@unittest.skipUnless(mounting.HAVE_FUSE, mounting.NEEDS_FUSE)
class MountLife(mounting.MountTest):

    def setUp(self):
        super().setUp()
        self.write("f", self.random.randbytes(5 * MIB))
        self.snapshot()

    def test_ends_with_0_on_signals_and_when_unmounted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.stop(self.mount(), number)
        process = self.mount()
        harness.run_tool("fusermount3", "-u", self.mnt)
        self.assertEqual(process.wait(30), 0, self.log())
        process = self.mount()
        harness.run_tool("umount", self.mnt)
        self.assertEqual(process.wait(30), 0, self.log())
        self.assertEqual(self.log(), "")
        self.assertEqual(os.listdir(self.mnt), [])

    def test_a_signal_unmounts_it_while_it_is_in_use(self):
        process = self.mount()
        fd = os.open(f"{self.inside()}/f", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        os.pread(fd, 4096, 0)
        stop = threading.Event()

        def walk():
            while not stop.is_set():
                for _ in os.walk(self.mnt, followlinks=False):
                    pass

        walker = threading.Thread(target=walk)
        walker.start()
        try:
            self.stop(process)
        finally:
            stop.set()
            walker.join()
        with self.assertRaises(OSError):
            os.pread(fd, 4096, 3 * MIB)

    def test_a_mount_that_was_killed_is_replaced(self):
        process = self.mount()
        process.kill()
        process.wait()
        with self.assertRaises(OSError) as raised:
            os.listdir(self.mnt)
        self.assertEqual(raised.exception.errno, errno.ENOTCONN)
        process = self.mount()
        self.assertEqual(self.read(f"{self.inside()}/f"), self.read(f"{self.src}/f"))
        self.assertIn("died", self.log())
        self.stop(process)

    def test_a_place_that_cannot_be_mounted_on_is_refused(self):
        self.one_line_error(1, "mount", self.target("none"), contains=["none", "No such file"])
        self.one_line_error(1, "mount", os.path.join(self.src, "f"), contains=["no directory"])
        self.one_line_error(1, "mount", self.src, contains=["not empty"])
        self.one_line_error(2, "mount", contains=["DIR"])
        self.one_line_error(10, "-r", self.target("no-repo"), "mount", self.mnt)
        process = self.mount()
        self.one_line_error(11, "mount", self.mnt, contains=["mounted at", "already"])
        self.stop(process)

    def test_without_the_device_it_says_so(self):
        # A mount namespace of its own, in which /dev is empty.
        script = f'mount -t tmpfs none /dev && exec "{harness.BINARY}" mount "{self.mnt}"'
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script], env=self.environment(),
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"no /dev/fuse", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_other_users_get_in_only_when_they_are_let_in(self):
        os.chmod(self.dir, 0o755)
        os.chmod(os.path.join(self.src, "f"), 0o644)
        self.write("secret", b"s")
        os.chmod(os.path.join(self.src, "secret"), 0o600)
        self.snapshot()

        def as_nobody(path):
            return subprocess.run([*harness.AS_NOBODY, "cat", path], capture_output=True)

        process = self.mount()
        self.assertNotEqual(as_nobody(f"{self.inside()}/f").returncode, 0)
        self.stop(process)
        process = self.mount("--allow-other")
        self.assertEqual(as_nobody(f"{self.inside()}/f").stdout, self.read(f"{self.src}/f"))
        self.assertIn(b"Permission denied", as_nobody(f"{self.inside()}/secret").stderr)
        self.stop(process)

    def test_what_is_shown_to_people(self):
        process = self.start("mount", self.mnt, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.mnt], stderr=subprocess.DEVNULL)
        line = process.stdout.readline().decode()
        self.assertIn(f"mounted at {self.mnt}", line)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        self.assertEqual((process.returncode, out, err), (0, b"", b""))


if __name__ == "__main__":
    harness.main()
