"""Checkpoints in a bucket, written and read so slowly that there is time for what can happen.

Of memory that comes later every page is looked at, and none may ever be another one than it was."""

import concurrent.futures
import contextlib
import os
import signal
import sys
import tempfile
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "servers"))
import local_server  # noqa: E402  (the folder is known only now)
import rgw  # noqa: E402
from agent_run import Instance, wait_for  # noqa: E402

PYTHON = "/usr/bin/python3"
PROGRAM = os.path.join(os.path.dirname(__file__), "programs", "pages.py")
BUCKET = "slow-tests"
SLOW = ("-o", "s3.download-limit=24M")
IMPATIENT = ("-o", "s3.retry-seconds=2")


class BucketCase(unittest.TestCase):
    """A gateway of its own, for an application with memory of which each page is its own."""

    mib = 0

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="bucket-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.gateway, self.variables = rgw.Gateway.start_for_test(
            self, self.path("server"), BUCKET)
        self.repository = f"s3://{BUCKET}/{uuid.uuid4()}"
        self.instance = None
        self.addCleanup(self.lose)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_agent(self, *options):
        """With the state directory of the one before."""
        self.instance = Instance(self.path("instance"), "pages",
                                 f"{PYTHON} {PROGRAM} {self.folder} {self.mib}", self.repository,
                                 variables=local_server.aws_of(self.variables), options=options)

    def start(self, *options):
        """Afresh, until it has its memory."""
        self.run_agent(*options)
        wait_for("it has its memory", lambda: os.path.exists(self.path("ready")))

    def lose(self):
        if self.instance is not None:
            self.instance.lose()

    def restore(self, *options):
        self.run_agent(*options)
        status = self.instance.status()
        self.assertTrue(status["restored_from"], status["start_reason"])
        return status


class StopTest(BucketCase):
    """Of an application while a checkpoint is on its way."""

    mib = 64

    def test_it_lifts_the_cap_on_the_upload(self):
        self.start("-o", "s3.upload-limit=1M")
        asked = concurrent.futures.ThreadPoolExecutor().submit(self.instance.checkpoint)
        wait_for("it is being stored", lambda: self.instance.status()["state"] == "checkpointing")
        time.sleep(2)
        self.assertEqual(self.instance.status()["state"], "checkpointing")
        began = time.monotonic()
        self.instance.stop()
        self.assertLess(time.monotonic() - began, self.mib / 3)
        self.assertTrue(asked.result()["ok"])
        self.restore()


class LazyCase(BucketCase):
    """With a checkpoint whose application has come to an end."""

    mib = 320

    def setUp(self):
        super().setUp()
        self.start()
        self.assertGreater(self.instance.checkpoint()["bytes_stored"], self.mib << 20)
        self.lose()

    def rounds(self):
        with contextlib.suppress(FileNotFoundError), \
                open(self.path("rounds"), encoding="utf-8") as file:
            return file.read().split()
        return []

    def look(self):
        """Begins with it."""
        with open(self.path("look"), "w", encoding="utf-8"):
            pass
        wait_for("it looks", lambda: os.path.exists(self.path("begun")))

    def look_twice(self):
        """At all pages, at the latest the second time when all of them are there."""
        before = len(self.rounds())
        self.look()
        wait_for("it has looked", lambda: len(self.rounds()) >= before + 1, 120)
        wait_for("all memory is there", lambda: self.missing() == 0, 120)
        wait_for("it has looked again", lambda: len(self.rounds()) >= before + 3, 120)
        self.assertEqual(set(self.rounds()), {"good"})

    def missing(self):
        return self.instance.status()["lazy_memory"]["bytes_missing"]

    def begin_slowly(self, *options):
        """Restored, looking, and far from complete."""
        self.restore(*SLOW, *options)
        self.look()
        self.assertGreater(self.missing(), self.mib << 19)

    def check_that_it_ended(self):
        """And saw nothing wrong before."""
        wait_for("the application has ended",
                 lambda: not os.path.exists(f"/proc/{self.instance.pid}"))
        self.assertFalse(os.path.exists(self.path("bad")))
        self.assertEqual(self.rounds(), [])


class LazyBucketTest(LazyCase):
    """Of the bucket."""

    def test_every_page_is_what_it_was(self):
        memory = self.restore()["lazy_memory"]
        self.assertGreater(memory["bytes"], self.mib << 20)
        self.look_twice()

    def test_a_gateway_that_stops_ends_it_until_it_is_back(self):
        self.begin_slowly(*IMPATIENT)
        os.kill(self.gateway.pid("client.rgw"), signal.SIGKILL)
        self.check_that_it_ended()
        # Nothing could be restored then, and nothing was started afresh.
        self.assertNotEqual(self.instance.process.wait(60), 0, self.instance.log())
        self.assertIn("memory did not arrive", self.instance.log())
        self.assertFalse(os.path.exists(self.path("bad")))
        self.gateway.run_gateway(int(self.variables["AWS_ENDPOINT_URL_S3"].rsplit(":", 1)[1]))
        self.restore()
        self.look_twice()


class LazyKillTest(LazyCase):
    """Of the agent."""

    def test_its_end_ends_the_application(self):
        self.begin_slowly()
        self.instance.process.kill()
        self.instance.process.wait()
        self.check_that_it_ended()
        self.restore()
        self.look_twice()

    def test_a_stop_lifts_the_cap_on_the_download(self):
        self.begin_slowly("-o", "s3.download-limit=8M")
        began = time.monotonic()
        self.instance.stop()
        self.assertLess(time.monotonic() - began, self.mib / 2 / 8 / 2)
        os.remove(self.path("look"))
        self.restore()
        self.look_twice()


if __name__ == "__main__":
    unittest.main()
