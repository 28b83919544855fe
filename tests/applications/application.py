"""What the tests of whole applications have in common."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

from agent_run import Instances, wait_for
from network import Network

# What cleans up runs then, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
PYTHON = "/usr/bin/python3"


def descendants(ancestor):
    """All processes below one."""
    children = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, IndexError):
            if name.isdigit():
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, open_ones = [], [ancestor]
    while open_ones:
        more = children.get(open_ones.pop(), [])
        found += more
        open_ones += more
    return found


class ApplicationCase(unittest.TestCase):
    """Checkpointed twice under load, lost, resumed; stopped, resumed elsewhere. Those that derive
    from it say what is run, what is noted at a checkpoint, and what has to hold after a restore."""

    name = ""
    network = False

    def setUp(self):
        self.net = None
        if self.network:
            self.net = Network()
            self.addCleanup(self.net.close)
        self.instances = Instances(self.name, "")
        self.addCleanup(self.instances.close)
        self.path = self.instances.path
        os.chmod(self.instances.folder, 0o755)  # servers may run as somebody else
        self.instances.command = self.prepare()
        self.instances.options = {"external": self.external(),
                                  "volumes": (self.instances.folder,)}

    def prepare(self):
        """Makes what it needs; returns the command."""
        raise NotImplementedError

    def external(self):
        return ()

    def ready(self):
        """Whether it works, for the first time."""
        return True

    def begin_load(self):
        """What goes on from then on must do without its answer for a while."""

    def note(self):
        """What is to be there after a restore."""

    def verify(self, noted, planned):
        """`planned`: nothing was lost."""
        raise NotImplementedError

    def checkpoint(self):
        """Returns what was noted before."""
        noted = self.note()
        record = self.instances.current.checkpoint()
        self.assertTrue(record["ok"], record)
        print(f"  checkpoint: frozen {record['frozen_ms']:.0f} ms, "
              f"{record['bytes_captured'] >> 20} MiB captured, {record['bytes_new'] >> 20} new")
        return noted

    def fresh(self):
        return self.net.fresh() if self.net is not None else ()

    def lost(self):
        """What else is gone with an instance, and comes back as of the checkpoint."""
        for path in self.external():
            os.unlink(path)

    def resumed(self):
        """Before it is verified."""

    def check(self, noted, planned):
        try:
            self.resumed()
            self.verify(noted, planned)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.instances.current.log()}") from error

    def go_through(self):
        instance = self.instances.start(self.fresh())
        wait_for(f"{self.name} is ready", self.ready, 120)
        self.begin_load()
        self.checkpoint()
        noted = self.checkpoint()
        instance.lose()
        self.lost()
        began = time.monotonic()
        instance = self.instances.resume(self.fresh())
        print(f"  restored in {instance.status()['restore_seconds']:.2f} s, an agent that runs "
              f"after {time.monotonic() - began:.2f} s")
        self.check(noted, planned=False)
        noted = self.note()
        instance.stop()
        self.instances.resume(self.fresh())
        self.check(noted, planned=True)


class LogCase(ApplicationCase):
    """One that writes a log, an external file."""

    def external(self):
        return (self.path("log"),)

    def lines(self):
        with open(self.path("log"), encoding="utf-8") as file:
            return file.read().split("\n")[:-1]

    def ready(self):
        return len(self.lines()) > 10

    def note(self):
        before = len(self.lines())
        wait_for("it works on", lambda: len(self.lines()) > before + 5)
        return self.lines()

    def verify(self, noted, planned):
        wait_for("it goes on", lambda: len(self.lines()) > len(noted) + 10)
        lines = self.lines()
        self.assertEqual(lines[:len(noted)], noted)
        self.verify_lines(lines)

    def verify_lines(self, lines):
        """All of them, from the first start on."""
        raise NotImplementedError


def send(processes, number):
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def standing_still(processes):
    """As a volume is while a snapshot of it begins."""
    send(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        send(processes, signal.SIGCONT)


def replace_folder(source, target):
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", "--", source, target], check=True)


class VolumeCase(ApplicationCase):
    """A database with its files on a volume of which a snapshot is taken at the instant of the
    checkpoint: everything stands still from before the one until after the other. What comes back
    with the final checkpoint is the volume itself."""

    def checkpoint(self):
        with standing_still(descendants(self.instances.current.pid)):
            noted = super().checkpoint()
            replace_folder(self.path("data"), self.path("snapshot"))
        return noted

    def lost(self):
        super().lost()
        replace_folder(self.path("snapshot"), self.path("data"))

    def resumed(self):
        send(descendants(self.instances.current.pid), signal.SIGCONT)
