"""Free memory that is ready to be used, for programs whose speed is measured.

A virtual machine may get its memory from its host only when it first touches it, and give it back
within seconds of freeing it. Writing 3 GiB to a tmpfs then takes 9 s instead of 1, or anything
between. So a process holds touched memory, and frees it a little ahead of what the measured program
writes.
"""

import contextlib
import mmap
import os
import subprocess
import sys

# 23 is MADV_POPULATE_WRITE of Linux 5.14, which the module does not name.
HOLD = """
import mmap, os, sys, time
MIB = 1 << 20
PIECE, AHEAD = 32 * MIB, 1024 * MIB

def used():
    state = os.statvfs(sys.argv[2])
    return (state.f_blocks - state.f_bfree) * state.f_frsize

held = [mmap.mmap(-1, PIECE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for _ in range(int(sys.argv[1]) // PIECE)]
for piece in held:
    piece.madvise(23)
print(flush=True)
begin, freed = used(), 0
while held:
    while held and freed < used() - begin + AHEAD:
        held.pop().close()
        freed += PIECE
    time.sleep(0.02)
"""


@contextlib.contextmanager
def ready(size, folder):
    """Meanwhile up to `size` bytes can be written below `folder` without waiting for the host."""
    free = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE
    with subprocess.Popen([sys.executable, "-S", "-c", HOLD, str(min(size, free // 2)), folder],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          start_new_session=True) as holder:
        try:
            if not holder.stdout.readline():
                raise OSError("the memory for a measurement could not be had")
            yield
        finally:
            holder.kill()
