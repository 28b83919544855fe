#!/usr/bin/env python3
"""Tables and a chart from the results of end_to_end.py and ceilings.py.

    bench/report.py FILE… [--peaks] [--write docs/performance.md] [--svg docs/performance.svg]

Prints Markdown. With --write the part of that file between the lines `<!-- results: begin -->` and
`<!-- results: end -->` is replaced by it, with the chart of --svg, if any, on top.
A figure is the median of the runs; behind ± is half of what lies between the lowest and the
highest, in per cent of it; in brackets, how many times snapstore's it is.
"""

import argparse
import os

import chart
import results
import script
from peers import SNAPSTORE

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
STEPS = {
    "first": "first snapshot",
    "next": "next version",
    "rescan": "same bytes, new time stamps",
    "unchanged": "untouched",
    "changed_blocks": "next version, told what changed",
    "restore": "restore",
    "in_place": "restore over the version before",
    "stored_first": "stored after the first",
    "stored_next": "stored after both",
    "peak_mib": "peak memory",
}
PEAK = "peak_mib_"
# Ceiling, its name, the steps it bounds, and whether those must have run on the same file system.
CEILINGS = (
    ("memcpy_one_core", "memcpy, one core", ("rescan", "restore", "in_place"), False),
    ("xxh3_one_core", "chunk ids (XXH3), one core", ("rescan",), False),
    ("xxh3_two_cores", "chunk ids (XXH3), two cores", ("rescan",), False),
    ("zstd_1_one_core", "zstd -1, one core", ("first",), False),
    ("zstd_1_two_cores", "zstd -1, two cores", ("first",), False),
    ("unzstd_one_core", "zstd -d, one core", ("restore",), False),
    ("unzstd_two_cores", "zstd -d, two cores", ("restore",), False),
    ("read_buffered", "read, from page cache", ("rescan",), True),
    ("read_direct", "read, O_DIRECT", (), True),
    ("write_buffered", "write, into page cache", ("restore",), True),
    ("write_direct", "write, O_DIRECT", (), True),
    ("tmpfs_write", "write to tmpfs", (), False),
)


def digits(value):
    """About three digits that count."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3}f}"


def quantity(value, unit):
    if unit == "B/s":
        return f"{digits(value / 1e9)} GB/s" if value >= 1e9 else f"{digits(value / 1e6)} MB/s"
    return f"{digits(value / 1e6)} MB" if unit == "B" else f"{digits(value)} {unit}"


def figure(line):
    spread = round(50 * (line["max"] - line["min"]) / line["median"]) if line["median"] else 0
    return quantity(line["median"], line["unit"]) + (f" ±{spread} %" if spread else "")


def cell(line, ours):
    if line is None:
        return "-"
    if ours is None or line["tool"] == SNAPSTORE or not ours["median"]:
        return figure(line)
    return f"{figure(line)} ({digits(line['median'] / ours['median'])})"


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line).strip() + " |" for line in lines)


def tools_of(lines):
    return list(dict.fromkeys(line["tool"] for line in lines))


def place(machine):
    """One sentence on where and when."""
    changed = " with changes" if machine["uncommitted"] else ""
    return (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB, "
            f"kernel {machine['kernel']}, {machine['file_system']}; commit "
            f"{machine['commit'][:12]}{changed}; {machine['date'][:10]}")


def heading(session, lines):
    """What was measured: input, bytes, machine, commit, date and versions."""
    line, machine = lines[0], session.machine
    holes = line["bytes"] - line["data_bytes"]
    size = f"{line['bytes'] / 1e6:.0f} MB"
    if holes:
        size += f", {holes / 1e6:.0f} MB of it holes"
    runs = f"medians of {line['runs']} runs" if line["runs"] > 1 else "one run"
    versions = ", ".join(f"{tool} {version}" for tool, version in machine["versions"].items())
    return (f"Input `{line['input']}`: {size}; {runs}. {place(machine)}. "
            f"{versions}.")


def step_table(lines, steps):
    """Rows are steps, columns are tools."""
    found = {(line["step"], line["tool"]): line for line in lines}
    tools = tools_of(lines)
    rows = [[title, *(cell(found.get((step, tool)), found.get((step, SNAPSTORE)))
                      for tool in tools)]
            for step, title in steps.items() if any((step, tool) in found for tool in tools)]
    return markdown(["", *tools], rows)


def end_to_end_table(session, lines, peaks=False):
    """The tables of one input."""
    parts = [heading(session, lines), step_table(lines, STEPS)]
    if peaks:
        parts += ["Peak memory by step:",
                  step_table(lines, {PEAK + step: title for step, title in STEPS.items()})]
    return "\n\n".join(parts)


def by_input(session):
    """The lines of each input of an end-to-end session."""
    lines = [line for line in session.results if line["benchmark"] == "end_to_end"]
    return {name: [line for line in lines if line["input"] == name]
            for name in dict.fromkeys(line["input"] for line in lines)}


def same_machine(a, b):
    return all(a[key] == b[key] for key in ("cpu", "cores", "kernel"))


def reached(session, sessions):
    """snapstore's lines on the machine of `session`: by file system and input, then by step."""
    return {(other.machine["file_system"], name):
            {line["step"]: line for line in lines if line["tool"] == SNAPSTORE}
            for other in sessions if same_machine(session.machine, other.machine)
            for name, lines in by_input(other).items()}


def share(ceiling, line):
    """How much of the ceiling snapstore reaches in a step, in per cent."""
    if line is None:
        return "-"
    return f"{100 * line['data_bytes'] / line['median'] / ceiling['median']:.0f} %"


def ceilings_table(session, sessions):
    """What the machine can do, and what snapstore makes of it in sessions on the same machine."""
    found = {line["step"]: line for line in session.results}
    ours = reached(session, sessions)
    here = session.machine["file_system"]
    rows = []
    for name, title, steps, same_files in CEILINGS:
        if name not in found:
            continue
        for step in steps if ours and steps else ("",):
            row = [title, figure(found[name])]
            if ours:
                row.append(STEPS.get(step, "-"))
                row += [share(found[name], None if same_files and files != here else
                              lines.get(step)) for (files, _), lines in ours.items()]
            rows.append(row)
    header = ["", "this machine"]
    if ours:
        header += ["snapstore's share in", *(f"{name}, {files}" for files, name in ours)]
    return f"What the machine can do. {place(session.machine)}.\n\n{markdown(header, rows)}"


def tables(sessions, peaks):
    parts = []
    for session in sessions:
        parts += [end_to_end_table(session, lines, peaks) for lines in by_input(session).values()]
        if any(line["benchmark"] == "ceilings" for line in session.results):
            parts.append(ceilings_table(session, sessions))
    return "\n\n".join(parts)


def panels(sessions):
    """What the chart shows: for each input (title, steps, tools, line by step and tool)."""
    for session in sessions:
        for name, lines in by_input(session).items():
            timed = [line for line in lines if line["unit"] == "s"]
            steps = {step: title for step, title in STEPS.items()
                     if any(line["step"] == step for line in timed)}
            title = (f"{name}, {lines[0]['bytes'] / 1e6:.0f} MB, on "
                     f"{session.machine['file_system']}, commit {session.machine['commit'][:7]}")
            yield chart.Panel(title, steps, tools_of(timed),
                              {(line["step"], line["tool"]): line for line in timed})


def replaced(path, text):
    """The content of `path` with `text` between its two markers."""
    with open(path, encoding="utf-8") as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--peaks", action="store_true", help="adds peak memory by step")
    parser.add_argument("--write", metavar="FILE", help="a Markdown file with the two markers")
    parser.add_argument("--svg", metavar="FILE", help="writes a chart of the times")
    args = parser.parse_args()
    sessions = results.read(args.files)
    text = tables(sessions, args.peaks)
    illustrated = text
    if args.svg and args.write:
        link = os.path.relpath(args.svg, os.path.dirname(os.path.abspath(args.write)))
        illustrated = f"![seconds by step and program]({link})\n\n{text}"
    content = replaced(args.write, illustrated) if args.write else None
    print(text)
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as file:
            file.write(chart.draw(list(panels(sessions))))
    if args.write:
        with open(args.write, "w", encoding="utf-8") as file:
            file.write(content)


if __name__ == "__main__":
    script.start(main)
