#!/usr/bin/env python3
"""The application that must survive its node: date, time and a counter, once a tick, into a log.

    print_datetime_app.py [--log FILE] [--tick-ms 200] [--memory-mib 64] [--pages-per-tick 4]

The log is datetime_log.txt beside the program, unless another is named. The program knows nothing
of checkpoints. The counter lives in memory only: it is never read back from the log. Beside it lies
a block of memory of which each tick rewrites some pages at random, so that two checkpoints have most
in common. Each line carries the counter, a running sum over all pages ever written and the pid: an
application that was restored with another memory than its log shows it in the next line.

    2026-01-31T12:00:00.250Z tick 17 pages 1088 sum 5b1e9c03 pid 2
"""

import argparse
import datetime
import os
import random
import time
import zlib

PAGE_BYTES = 4096
TICK_MS = 200
MEMORY_MIB = 64
PAGES_PER_TICK = 4


class Memory:
    """A block of own memory; `touch` rewrites random pages of it."""

    def __init__(self, mib: int, seed: int):
        self._random = random.Random(seed)
        self._block = bytearray(self._random.randbytes(mib << 20))
        self.pages_written = 0
        self.sum = 0

    def touch(self, pages: int) -> None:
        for _ in range(pages):
            offset = self._random.randrange(len(self._block) // PAGE_BYTES) * PAGE_BYTES
            # Text-like: compresses as the memory of a real program does.
            page = (b"%016x " % self._random.getrandbits(64)) * (PAGE_BYTES // 17 + 1)
            self._block[offset : offset + PAGE_BYTES] = page[:PAGE_BYTES]
            self.sum = zlib.crc32(self._block[offset : offset + PAGE_BYTES], self.sum)
            self.pages_written += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--log", help="file to append to (an absolute path)",
                        default=os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                             "datetime_log.txt"))
    parser.add_argument("--tick-ms", type=int, default=TICK_MS)
    parser.add_argument("--memory-mib", type=int, default=MEMORY_MIB)
    parser.add_argument("--pages-per-tick", type=int, default=PAGES_PER_TICK)
    options = parser.parse_args()

    memory = Memory(options.memory_mib, seed=1)
    counter = 0
    with open(options.log, "a", encoding="ascii", buffering=1) as log:
        while True:
            counter += 1
            memory.touch(options.pages_per_tick)
            now = datetime.datetime.now(datetime.timezone.utc)
            stamp = now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"
            log.write(
                f"{stamp} tick {counter} pages {memory.pages_written}"
                f" sum {memory.sum:08x} pid {os.getpid()}\n"
            )
            time.sleep(options.tick_ms / 1000)


if __name__ == "__main__":
    main()
