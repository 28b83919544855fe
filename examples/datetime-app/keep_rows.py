#!/usr/bin/env python3
"""A database beside the application: each line of its log becomes a row, committed at once.

    keep_rows.py --log FILE --database FILE

An ordinary process, which no checkpoint holds: when its machine is lost it starts again on the
same volume, and what it had committed is there. Ticks that the application repeats, because it was
restored to an earlier instant, are the same rows again.
"""

import argparse
import os
import re
import sqlite3
import time

LINE = re.compile(r"(\S+) tick (\d+) ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()

    database = sqlite3.connect(options.database)
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS ticks (tick INTEGER PRIMARY KEY, time TEXT)")
    position = 0
    while True:
        size = os.path.getsize(options.log) if os.path.exists(options.log) else 0
        if size < position:
            position = 0  # the log was put back to an earlier state
        with open(options.log, "rb") if size else open(os.devnull, "rb") as log:
            log.seek(position)
            added = log.read()
        complete = added[: added.rfind(b"\n") + 1]
        position += len(complete)
        rows = [(int(tick), stamp) for stamp, tick in LINE.findall(complete.decode("ascii"))]
        if rows:
            with database:
                database.executemany("INSERT OR REPLACE INTO ticks VALUES (?, ?)",
                                     [(tick, stamp) for tick, stamp in rows])
        time.sleep(0.05)


if __name__ == "__main__":
    main()
