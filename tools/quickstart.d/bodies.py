"""The request bodies of examples/datetime-app, filled in."""

import json
import os

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples",
                      "datetime-app")


def filled(file, values):
    """The body in `file` with each <placeholder> replaced by its value; raises unless these are
    exactly those of the file."""
    used = set()

    def fill(part):
        if isinstance(part, dict):
            return {name: fill(value) for name, value in part.items()}
        if isinstance(part, list):
            return [fill(value) for value in part]
        if isinstance(part, str) and part.startswith("<"):
            used.add(part[1:-1])
            return values[part[1:-1]]
        return part

    with open(os.path.join(FOLDER, file), encoding="utf-8") as source:
        body = fill(json.load(source))
    if used != set(values):
        raise RuntimeError(f"{file} has no place for {sorted(set(values) - used)}")
    return body
