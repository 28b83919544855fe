"""What is known about the application from its log, and what it would have written undisturbed."""

import dataclasses
import datetime
import importlib.util
import re

LINE = re.compile(r"(?P<time>\S+Z) tick (?P<tick>\d+) pages (?P<pages>\d+)"
                  r" sum (?P<sum>[0-9a-f]{8}) pid (?P<pid>\d+)")


@dataclasses.dataclass(frozen=True)
class Tick:
    time: datetime.datetime
    number: int
    pages: int
    sum: int
    pid: int


def parse_log(text):
    """The ticks of complete lines; raises on a line that is none."""
    ticks = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = LINE.fullmatch(line)
        if not match:
            raise RuntimeError(f"line {number} of the log is damaged: {line!r}")
        ticks.append(Tick(datetime.datetime.fromisoformat(match["time"]), int(match["tick"]),
                          int(match["pages"]), int(match["sum"], 16), int(match["pid"])))
    return ticks


def expect_uninterrupted(ticks, script):
    """Raises unless `ticks` are what one process of `script` writes that never stopped.

    Each line's sum covers all of the application's memory writes so far, so the program is run
    again here, without its clock: a page, the random generator or the counter restored to another
    instant than the log shows up in the first line after it.
    """
    spec = importlib.util.spec_from_file_location("application_under_test", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    memory = module.Memory(module.MEMORY_MIB, seed=1)
    for expected, tick in enumerate(ticks, 1):
        if tick.number != expected:
            raise RuntimeError(f"line {expected} of the log is tick {tick.number}")
        memory.touch(module.PAGES_PER_TICK)
        if (tick.pages, tick.sum) != (memory.pages_written, memory.sum):
            raise RuntimeError(f"tick {expected}: the memory is not that of an undisturbed run")
        if tick.pid != ticks[0].pid:
            raise RuntimeError(f"tick {expected} comes from process {tick.pid},"
                               f" not {ticks[0].pid}")
