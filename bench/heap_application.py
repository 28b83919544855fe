#!/usr/bin/env python3
"""An application with a large heap, of which it changes some pages whenever it is told to.

heap_application.py FOLDER MIB PERCENT: fills its heap with what files in /usr hold. When FOLDER/N
appears, for N from 1 on, it changes PERCENT of its pages at random, writes those to FOLDER/N.pages
and makes FOLDER/N.done.
"""

import mmap
import os
import random
import sys
import time

PAGE = 4096


def fill(heap):
    done = 0
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                done += file.readinto(heap[done:])
            if done == len(heap):
                return
    raise SystemExit("/usr does not hold enough")


def change(heap, number, percent, output):
    """Pages take the bytes of others, with a mark that makes each of them new."""
    rng = random.Random(number)
    pages = len(heap) // PAGE
    for turn in range(max(1, pages * percent // 100)):
        to, origin = rng.randrange(pages) * PAGE, rng.randrange(pages) * PAGE
        heap[to:to + PAGE] = heap[origin:origin + PAGE]
        heap[to:to + 16] = b"%8d%8d" % (number, turn)
        output.write(heap[to:to + PAGE])


def main():
    folder, mib, percent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Aligned to pages, which a bytearray is not.
    heap = memoryview(mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    fill(heap)
    number = 0
    while True:
        wanted = os.path.join(folder, str(number))
        if number == 0 or os.path.exists(wanted):
            if number > 0:
                with open(wanted + ".pages", "wb", buffering=0) as output:
                    change(heap, number, percent, output)
            with open(wanted + ".done", "wb"):
                pass
            number += 1
        time.sleep(0.02)


if __name__ == "__main__":
    main()
