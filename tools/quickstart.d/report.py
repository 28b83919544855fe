"""What the demonstration prints."""

import sys
import time

BEGIN = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def progress(text):
    """A line that is overwritten on a terminal; printed once in ten calls elsewhere."""
    if sys.stdout.isatty():
        print(f"\r           {text}\x1b[K", end="", flush=True)
    else:
        progress.calls += 1
        if progress.calls % 10 == 1:
            print(f"           {text}", flush=True)


progress.calls = 0


def end_progress():
    if sys.stdout.isatty():
        print("\r\x1b[K", end="", flush=True)


def size(count):
    if count < 1 << 10:
        return f"{count} B"
    if count < 1 << 20:
        return f"{count / (1 << 10):.1f} KiB"
    return f"{count / (1 << 20):.1f} MiB"


def table(head, rows):
    """Prints rows under `head`; the first two columns to the left, the others to the right."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [str(cell).ljust(width) if i < 2 else str(cell).rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
    print(flush=True)
