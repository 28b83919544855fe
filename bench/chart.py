"""A chart as SVG: for each input a panel, in it for each step a group of bars, one a program."""

import itertools
import math
import textwrap
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, MARGIN, AXIS = 1000, 24, 52
PLOT, TITLE, FOOT = 210, 44, 58
LEGEND = 64
# Between groups, and the least room of one, in bars.
GAP, BARS_MIN = 0.8, 2.4
FONT = "font-family=\"system-ui, 'DejaVu Sans', sans-serif\""
PAPER, INK, FAINT, GRID = "#ffffff", "#1f2328", "#59636e", "#e4e7eb"
# snapstore and its variants are blue; the others keep their colour whoever takes part.
BLUES = ("#0b5394", "#5b9bd5", "#a6c8ec")
COLOURS = {"restic": "#e69f00", "borg": "#009e73", "casync": "#cc79a7", "tar+zstd": "#8c8c8c"}


class Panel(NamedTuple):
    title: str
    steps: dict  # step -> its name
    tools: list
    lines: dict  # (step, tool) -> result


class Scale(NamedTuple):
    """Seconds to heights, logarithmic, by whole decades."""
    low: int
    high: int

    def height(self, seconds):
        return PLOT * (math.log10(max(seconds, 10**self.low)) - self.low) / (self.high - self.low)


def scale_of(panel):
    seconds = [line[key] for line in panel.lines.values() for key in ("median", "max")]
    low = max(-3, math.floor(math.log10(max(min(seconds), 1e-3)) - 0.15))
    return Scale(low, max(low + 1, math.ceil(math.log10(max(seconds)) + 0.05)))


def text(x, y, content, size=12, anchor="start", colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}" font-weight="{weight}">{escape(content)}</text>')


def rect(x, y, width, height, colour):
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>')


def line(x1, y1, x2, y2, colour, width=1.0):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def short(seconds):
    """Two digits that count, with nothing to spare."""
    places = 0 if seconds >= 9.95 else 1 if seconds >= 0.995 else 2 if seconds >= 0.01 else 3
    return f"{seconds:.{places}f}".removeprefix("0")


def legend(tools, colours):
    """The first lines of the chart: what it shows, and the colours."""
    parts = [text(MARGIN, 26, "Seconds by step, median of the runs (less is better; each line of "
                              "the grid is ten times the one below)", 14, weight="bold")]
    x = MARGIN
    for tool in tools:
        parts += [rect(x, 40, 12, 12, colours[tool]), text(x + 18, 51, tool, 13)]
        x += 18 + 8.2 * len(tool) + 22
    return parts


def grid(scale, top):
    parts = []
    for decade in range(scale.low, scale.high + 1):
        y = top + PLOT - scale.height(10**decade)
        parts += [line(AXIS, y, WIDTH - MARGIN, y, GRID),
                  text(AXIS - 6, y + 4, f"{10**decade:g} s", 11, "end", FAINT)]
    return parts


def bar(result, scale, x, width, bottom, colour):
    """One bar with its value, and a thin line from the lowest to the highest run."""
    height, middle = scale.height(result["median"]), x + width / 2
    parts = [rect(x, bottom - height, width, height, colour)]
    low, high = scale.height(result["min"]), scale.height(result["max"])
    if high - low > 3:
        parts.append(line(middle, bottom - low, middle, bottom - high, INK))
    label = short(result["median"])
    size = min(12, 1.55 * width / len(label))
    parts.append(text(middle, bottom - max(height, high) - 4, label, f"{size:.1f}", "middle"))
    return parts


def group(title, results, scale, left, right, unit, bottom, colours):
    """The bars of one step, in the middle between left and right."""
    middle = (left + right) / 2
    x = middle - unit * len(results) / 2
    parts = []
    for result in results:
        parts += bar(result, scale, x + unit * 0.05, unit * 0.9, bottom, colours[result["tool"]])
        x += unit
    for row, words in enumerate(textwrap.wrap(title, max(8, int((right - left) / 6.6)))):
        parts.append(text(middle, bottom + 16 + 14 * row, words, 12, "middle"))
    return parts


def draw_panel(panel, top, colours):
    """Title, grid and a group a step; groups are as wide as they have bars, or have words below."""
    scale = scale_of(panel)
    found = {title: [panel.lines[step, tool] for tool in panel.tools if (step, tool) in panel.lines]
             for step, title in panel.steps.items()}
    widths = {title: max(len(results), BARS_MIN) + GAP for title, results in found.items()}
    unit = (WIDTH - MARGIN - AXIS) / sum(widths.values())
    bottom, left = top + TITLE + PLOT, AXIS
    parts = [text(AXIS, top + 22, panel.title, 14, weight="bold"), *grid(scale, top + TITLE)]
    for title, results in found.items():
        right = left + unit * widths[title]
        parts += group(title, results, scale, left, right, unit, bottom, colours)
        left = right
    parts.append(line(AXIS, bottom, WIDTH - MARGIN, bottom, FAINT))
    return parts


def draw(panels):
    """The whole chart. It brings its own background, to be read in dark surroundings too."""
    tools = list(dict.fromkeys(tool for panel in panels for tool in panel.tools))
    blues = itertools.cycle(BLUES)
    colours = {tool: COLOURS.get(tool) or next(blues) for tool in tools}
    height = LEGEND + len(panels) * (TITLE + PLOT + FOOT) + MARGIN / 2
    parts = legend(tools, colours)
    for number, panel in enumerate(panels):
        parts += draw_panel(panel, LEGEND + number * (TITLE + PLOT + FOOT), colours)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'width="{WIDTH}" height="{height:.0f}" role="img" {FONT}>\n'
            "<title>Seconds by step and program</title>\n"
            + rect(0, 0, WIDTH, height, PAPER) + "\n" + "\n".join(parts) + "\n</svg>\n")
