"""What the scripts of this folder share: one-line errors, a clean end, a folder to work in."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

BUILD = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                      "../build/release"))


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_cleanly(number, _frame):
    """Unwinds, so that temporary data is removed; from then on nothing interrupts that."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def start(main):
    """Calls main(). A failure ends as one line on standard error, a signal without any."""
    for number in SIGNALS:
        signal.signal(number, end_cleanly)
    try:
        main()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {describe(error)}")


def describe(error):
    """One line on what went wrong."""
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    said = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-3:]
    return (f"'{' '.join(error.cmd)}' ended with {error.returncode}"
            + (f": {'; '.join(said)}" if said else ""))


def note(message):
    print(message, file=sys.stderr, flush=True)


def need(program, what):
    """The path of an installed program, or the end with a line that says what lacks it."""
    path = shutil.which(program)
    if not path:
        raise OSError(f"{what} needs {program}: not installed (tools/setup bench)")
    return path


@contextlib.contextmanager
def scratch(work):
    """A new folder below `work`, removed in the end; so is `work` if it was made for this."""
    existed = os.path.isdir(work)
    os.makedirs(work, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=work) as folder:
            yield folder
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # somebody else put something there
                os.rmdir(work)
