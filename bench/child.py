"""Runs a program and tells how long it took, what of the CPU, and how much memory it held."""

import json
import os
import signal
import subprocess
import sys
from typing import NamedTuple

# A program inherits the peak memory of the process that forked it, so that process must be small.
MEASURED = """
import json, os, resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.call(sys.argv[2:])
seconds = time.monotonic() - begin
used = resource.getrusage(resource.RUSAGE_CHILDREN)
os.write(int(sys.argv[1]), json.dumps(
    [code, seconds, used.ru_maxrss, used.ru_utime + used.ru_stime]).encode())
"""


class Run(NamedTuple):
    """One run. The peak is that of the largest process among those the program started."""
    seconds: float
    peak_mib: float
    cpu_seconds: float


def run(args, env, cwd=None):
    """Runs `args` to its end; raises CalledProcessError when it fails.

    It gets a session of its own, so that nothing of it is left when this script is interrupted.
    """
    results, results_end = os.pipe()
    with os.fdopen(results, "rb") as answers:
        with os.fdopen(results_end, "wb"):
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", MEASURED, str(results_end), *args],
                env={**os.environ, **env}, cwd=cwd, pass_fds=[results_end], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()  # until the last of them has closed its end
            raise
        answer = answers.read()
    code, seconds, peak_kib, cpu_seconds = (
        json.loads(answer) if answer else (process.returncode, 0, 0, 0))
    if code != 0:
        raise subprocess.CalledProcessError(code, args, stderr=errors)
    return Run(seconds, peak_kib / 1024, cpu_seconds)
