"""What the checks in this folder share: finding files, running in parallel, remembering what passed."""

import argparse
import concurrent.futures
import hashlib
import os
import re
import sys

SKIPPED_FOLDERS = {".git", "build", ".cache", "__pycache__"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def arguments(description, build_dir=None):
    """The options every check has; `build_dir`, "required" or "optional", adds --build."""
    parser = argparse.ArgumentParser(description=description)
    default_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser.add_argument("--root", default=default_root, help="the source tree to check")
    if build_dir:
        parser.add_argument("--build", required=build_dir == "required",
                            help="a configured tree that has its generated headers")
        parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.root = os.path.realpath(options.root)
    return options


def files(root, suffixes=None):
    """Paths relative to `root`, sorted; build output and version control left out."""
    found = []
    for folder, names, leaves in os.walk(root):
        names[:] = [n for n in names if n not in SKIPPED_FOLDERS and not n.startswith("build-")]
        for leaf in leaves:
            if suffixes is None or leaf.endswith(suffixes):
                found.append(os.path.relpath(os.path.join(folder, leaf), root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def includes(text):
    """(line number, bracket, name) of each include directive."""
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start(2)) + 1, match.group(1), match.group(2)


def resolve(root, name):
    """The path of an included project file relative to `root`, or None."""
    for candidate in (name, os.path.join("include", name)):
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def closure(root, path):
    """`path` and every project file that it includes, directly or not."""
    seen, todo = set(), [path]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for _, _, name in includes(read(root, current)):
            target = resolve(root, name)
            if target:
                todo.append(target)
    return sorted(seen)


class Passed:
    """Remembers what passed, by a hash of everything that decided it, as empty files in a folder."""

    def __init__(self, folder, *context):
        self._folder = folder
        self._context = context
        os.makedirs(folder, exist_ok=True)

    def key(self, root, path, *more):
        digest = hashlib.sha256(repr((path, self._context, more)).encode())
        for part in closure(root, path):
            digest.update(part.encode() + b"\0")
            digest.update(read(root, part).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def has(self, key):
        return os.path.exists(os.path.join(self._folder, key))

    def add(self, key):
        with open(os.path.join(self._folder, key), "w"):
            pass


def run_all(jobs, work, items):
    """work(item) for all items, `jobs` at a time; yields (item, result) as they end."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(work, item): item for item in items}
        for future in concurrent.futures.as_completed(pending):
            yield pending[future], future.result()


def finish(problems, checked):
    """Prints the problems and a summary; the process's exit code."""
    for problem in problems:
        print(problem)
    print(f"{checked}: {len(problems)} problem(s)" if problems else f"{checked}: good")
    sys.exit(1 if problems else 0)
