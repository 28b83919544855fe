"""Holds memory of which each page is its own, and looks at all of it when it is told to.

    pages.py FOLDER MIB

FOLDER/ready says that it is there. While FOLDER/look is there, it looks at all pages, again and again,
the last ones first; each round adds a line to FOLDER/rounds, "good" or the number of a page that is
not what it was. FOLDER/bad gets that as well, as soon as it is seen.
"""

import hashlib
import os
import sys
import time

PAGE = 4096

folder, mib = sys.argv[1], int(sys.argv[2])
memory = bytearray()
for _ in range(mib):
    memory += os.urandom(1 << 20)
view = memoryview(memory)


def digest(number):
    return hashlib.blake2b(view[number * PAGE:(number + 1) * PAGE], digest_size=8).digest()


pages = len(memory) // PAGE
known = [digest(number) for number in range(pages)]


def add(name, text):
    with open(os.path.join(folder, name), "a", encoding="utf-8") as file:
        file.write(text + "\n")


def look():
    for number in reversed(range(pages)):
        if digest(number) != known[number]:
            add("bad", str(number))
            return str(number)
    return "good"


add("ready", str(pages))
while True:
    if os.path.exists(os.path.join(folder, "look")):
        add("begun", "")
        add("rounds", look())
    time.sleep(0.01)
