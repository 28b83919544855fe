"""A loopback of bounded rate, as the line between a node and its store is one."""

import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
# Of the queue, in bytes and in time: what a switch holds before it drops.
BURST = "1mb"
LATENCY = "200ms"


def enter(mbit):
    """Gives this process and those it starts a network of their own: only a loopback that carries
    `mbit` million bits a second, both directions together. It ends with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"no network of its own: {os.strerror(ctypes.get_errno())}")
    for command in (["ip", "link", "set", "lo", "up"],
                    ["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", f"{mbit}mbit",
                     "burst", BURST, "latency", LATENCY]):
        subprocess.run(command, check=True, capture_output=True)
