"""The frame of small programs that use one thing each: `PROGRAM NAME FOLDER`.

A feature sets itself up and returns what checks it. The program writes `ready` into the folder,
waits for `go`, checks, and writes `verdict`: OK or what is wrong. It ends with 77 if this machine
does not have the thing.
"""

import os
import sys
import time
import traceback

from kernel import Unavailable

UNAVAILABLE = 77


def write(path, text):
    """Whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def wait_for_ever():
    while True:
        time.sleep(1000)


WRITERS = []


def child(work=lambda: None):
    """A process that does `work` and then stays. Returns its id when that is done."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        while WRITERS:
            os.close(WRITERS.pop())
        WRITERS.append(writer)
        try:
            work()
        except (Unavailable, OSError) as error:
            os.write(writer, str(error).encode())
            os._exit(1)
        os.close(WRITERS.pop())
        wait_for_ever()
    os.close(writer)
    error = b""
    while part := os.read(reader, 1000):
        error += part
    os.close(reader)
    if error:
        raise Unavailable(error.decode())
    return pid


def wait_until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.005)


def main(features):
    name, folder = sys.argv[1:]
    os.chdir(folder)
    try:
        check = features[name]()
    except Unavailable as error:
        print(error, flush=True)
        sys.exit(UNAVAILABLE)
    write("ready", "")
    while not os.path.exists("go"):
        time.sleep(0.005)
    try:
        if check is not None:
            check()
        verdict = "OK"
    except BaseException:  # pylint: disable=broad-except
        verdict = traceback.format_exc()
    write("verdict", verdict)
    wait_for_ever()


class Features(dict):
    """By name."""

    def __call__(self, function):
        self[function.__name__] = function
        return function
