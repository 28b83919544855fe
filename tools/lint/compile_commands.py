"""Compile commands of a configured tree, as arguments that can be reused for another tool."""

import json
import os
import shlex

# The project's only -include is that of precompiled headers, which no other compiler can read.
DROPPED_WITH_VALUE = {"-o", "-MF", "-MT", "-MQ", "-include"}
DROPPED = {"-c", "-MD", "-MMD"}


def load(root, build):
    """{source path relative to root: [compiler, flags…] without input, output and ccache}."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    commands = {}
    for entry in entries:
        path = os.path.relpath(os.path.realpath(entry["file"]), root)
        generated = os.path.realpath(entry["file"]).startswith(os.path.realpath(build) + os.sep)
        # A unity file is generated too, but it only includes sources.
        if path.startswith("..") or (generated and "/Unity/unity_" not in path):
            continue
        commands[path] = _flags(entry)
    return commands


def _flags(entry):
    words = shlex.split(entry["command"])
    while os.path.basename(words[0]) in ("env", "ccache") or "=" in words[0]:
        words = words[1:]
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in DROPPED_WITH_VALUE:
            skip = True
        elif word not in DROPPED and word != entry["file"]:
            kept.append(word)
    return kept
