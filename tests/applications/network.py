"""A network for instances that come one after another with one address, and a client in it."""

import contextlib
import os
import re
import subprocess

from agent_run import ENDS_WITH_TEST

CLIENT = "10.77.0.1"
ADDRESS = "10.77.0.2"


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def inside(name):
    """Words before a command that is to run there. `ip netns exec` would change the mounts, too."""
    return ["nsenter", f"--net=/run/netns/{name}"]


class Network:
    """Network namespaces: the client's, with a bridge, and the instance's of the moment."""

    def __init__(self):
        self.prefix = f"apps{os.getpid()}"
        self.client = f"{self.prefix}c"
        self.count = 0
        self.instance = None
        self._remove_abandoned()
        try:
            ip("netns", "add", self.client)
            ip("-n", self.client, "link", "set", "lo", "up")
            ip("-n", self.client, "link", "add", "bridge", "type", "bridge")
            ip("-n", self.client, "address", "add", f"{CLIENT}/24", "dev", "bridge")
            ip("-n", self.client, "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _remove_abandoned():
        """Of tests that were killed."""
        for line in ip("netns", "list", check=False).stdout.splitlines():
            made = re.match(r"apps(\d+)[ci]", line)
            if made and not os.path.exists(f"/proc/{made.group(1)}"):
                ip("netns", "delete", line.split()[0], check=False)

    def fresh(self):
        """Words that lead into a new instance's network; the one before is gone."""
        self.leave()
        self.count += 1
        name = f"{self.prefix}i{self.count}"
        self.instance = name
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{self.count}",
           "netns", self.client)
        ip("-n", name, "address", "add", f"{ADDRESS}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", self.client, "link", "set", f"port{self.count}", "master", "bridge")
        ip("-n", self.client, "link", "set", f"port{self.count}", "up")
        # The client knows the address by the hardware of the one before.
        ip("-n", self.client, "neighbour", "flush", "all", check=False)
        return inside(name)

    def leave(self):
        if self.instance is not None:
            ip("netns", "delete", self.instance, check=False)
            self.instance = None

    def run(self, *words, timeout=30, check=False, **options):
        """What a program of the client's prints."""
        return subprocess.run([*inside(self.client), *words], capture_output=True, text=True,
                              timeout=timeout, check=check, **options).stdout.strip()

    def start(self, *words, **options):
        """A program of the client's that stays; its output goes nowhere unless told otherwise."""
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        # pylint: disable-next=consider-using-with
        return subprocess.Popen([*ENDS_WITH_TEST, *inside(self.client), *words], **options)

    def close(self):
        with contextlib.suppress(OSError):
            self.leave()
            ip("netns", "delete", self.client, check=False)
