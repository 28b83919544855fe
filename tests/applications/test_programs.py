"""Programs that keep all they have in memory, and a log."""

import os
import shlex
import subprocess
import unittest

from agent_run import wait_for
from application import PROGRAMS, PYTHON, LogCase

HEAP = os.environ.get("SNAPSTORE_TEST_HEAP_BIN", "")
HEAP_MIB = int(os.environ.get("SNAPSTORE_TEST_HEAP_MIB", "512"))


class LoggerTest(LogCase):
    """Date and time into a log."""
    name = "logger"

    def prepare(self):
        return f"{PYTHON} {PROGRAMS}/logger.py {self.path('log')}"

    def verify_lines(self, lines):
        self.assertEqual([int(line.split()[1]) for line in lines], list(range(1, len(lines) + 1)))
        times = [line.split()[0] for line in lines]
        self.assertEqual(times, sorted(times))

    def test_it(self):
        self.go_through()


class TrainingTest(LogCase):
    """A training with numpy, against one that was not interrupted."""
    name = "training"

    def prepare(self):
        # One thread: the order of sums is then the same each time.
        return (f"env OPENBLAS_NUM_THREADS=1 {PYTHON} {PROGRAMS}/training.py {self.path('log')} "
                "0.01")

    def verify_lines(self, lines):
        undisturbed = self.path("undisturbed")
        subprocess.run([PYTHON, f"{PROGRAMS}/training.py", undisturbed, "0", str(len(lines))],
                       check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        with open(undisturbed, encoding="utf-8") as file:
            self.assertEqual(file.read().split("\n")[:-1], lines)
        os.unlink(undisturbed)

    def test_it(self):
        self.go_through()


class PipelineTest(LogCase):
    """A shell's pipeline, whose numbers are on their way through pipes."""
    name = "pipeline"

    def prepare(self):
        script = ("i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done | sed -u s/^/n/ | "
                  f"while read -r line; do echo $line; done >> {self.path('log')}")
        return f"sh -c {shlex.quote(script)}"

    def verify_lines(self, lines):
        self.assertEqual(lines, [f"n{number + 1}" for number in range(len(lines))])

    def test_it(self):
        self.go_through()


class TreeTest(LogCase):
    """Three generations of shells; each of the last counts in one log."""
    name = "tree"

    def prepare(self):
        leaf = f"i=0; while :; do i=$((i+1)); echo $0 $i >> {self.path('log')}; sleep 0.02; done"
        branch = f"for n in 1 2 3; do sh -c {shlex.quote(leaf)} $0$n & done; wait"
        return "sh -c " + shlex.quote(f"for n in a b c; do sh -c {shlex.quote(branch)} $n & done; "
                                      "wait")

    def verify_lines(self, lines):
        counts = {}
        for line in lines:
            name, number = line.split()
            counts[name] = counts.get(name, 0) + 1
            self.assertEqual(int(number), counts[name], name)
        self.assertEqual(len(counts), 9)

    def test_it(self):
        self.go_through()


class CheckedHeapCase(LogCase):
    """A heap that its threads fill, change and check all the time: "ok ROUNDS"."""

    def ready(self):
        return bool(self.lines()) and int(self.lines()[-1].split()[-1]) > 0

    def rounds(self):
        return int(self.lines()[-1].split()[-1])

    def verify_lines(self, lines):
        self.assertEqual([line for line in lines if not line.startswith("ok ")], [])
        rounds = self.rounds()
        wait_for("all of the heap was checked", lambda: self.rounds() > rounds + self.whole, 120)
        self.assertTrue(self.lines()[-1].startswith("ok "), self.lines()[-1])


class JavaTest(CheckedHeapCase):
    """OpenJDK, eight threads and 128 MiB."""
    name = "java"
    whole = 500  # blocks

    def prepare(self):
        subprocess.run(["javac", "-d", self.path("classes"), f"{PROGRAMS}/Heap.java"], check=True)
        return f"java -Xmx300m -cp {self.path('classes')} Heap {self.path('log')} 8 16"

    def test_it(self):
        self.go_through()


class HeapTest(CheckedHeapCase):
    """A C++ program with threads and a heap of SNAPSTORE_TEST_HEAP_MIB."""
    name = "heap"
    whole = 10  # passes of a thread over its part

    def prepare(self):
        return f"{HEAP} {self.path('log')} 4 {HEAP_MIB}"

    def test_it(self):
        self.go_through()


if __name__ == "__main__":
    unittest.main()
