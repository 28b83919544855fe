#!/usr/bin/env python3
"""An application with a large heap that answers questions about it.

heap_server.py PORT MIB: fills its heap with what files in /usr hold, each page marked with its
number, then serves on 127.0.0.1:PORT: for each line with a page's number a line with that page's
mark and the sum of its other bytes.
"""

import mmap
import os
import socket
import sys

PAGE = 4096


def fill(heap):
    done = 0
    while done < len(heap):
        before = done
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
        if done == before:
            raise SystemExit("/usr holds nothing")


def mark(heap):
    for page in range(len(heap) // PAGE):
        heap[page * PAGE:page * PAGE + 8] = page.to_bytes(8, "little")


def answer(heap, page):
    content = heap[page * PAGE:(page + 1) * PAGE]
    return f"{int.from_bytes(content[:8], 'little')} {sum(content[8:])}\n".encode()


def serve(server, heap):
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(answer(heap, int(line)))


def main():
    port, mib = int(sys.argv[1]), int(sys.argv[2])
    heap = memoryview(mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    fill(heap)
    mark(heap)
    with socket.create_server(("127.0.0.1", port), reuse_port=False) as server:
        serve(server, heap)


if __name__ == "__main__":
    main()
