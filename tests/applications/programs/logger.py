"""Appends the date, the time and a number to a log; also counts in memory."""

import datetime
import sys
import time

number = 0
with open(sys.argv[1], "a", encoding="utf-8") as log:
    while True:
        number += 1
        log.write(f"{datetime.datetime.now(datetime.timezone.utc).isoformat()} {number}\n")
        log.flush()
        time.sleep(0.005)
