#!/usr/bin/env python3
"""snapstore and a real S3 server: Ceph's gateway on loopback, which shares the cores.

    bench/s3.py [--part NAME]… [--input NAME]… [--size-mib 400] [--runs 5] [--json FILE]

Inputs:
  noise        one file of random bytes: nothing to save, only work
  noise-files  the same as many files
  usr          one file, put together from those in /usr
  usr-files    a tree of such files

Parts:
  upload     the input into the bucket, by `snapstore snapshot`, `rclone copy` and `aws s3 cp`, in
             turns
  restore    of the input into memory, by a machine without a cache; before it what the server
             gives at all: all objects by 16 ranged GETs at a time, which are thrown away, by one,
             two or four processes
  requests   how many a snapshot makes when all its data is there; the same for twice the data
  prune      after every tenth file was replaced and the first snapshot forgotten, until nothing is
             unused: what goes over the wire, both ways, for each byte that is stored again

With --link-mbit all of it happens in a network of its own, whose loopback carries so much and no more:
as where a server elsewhere is reached by a line, and its own cores are not what bounds it.

Each run has a server of its own, which is empty. Prints tables; with --json each figure is appended as
a line. --snapstore may be given several times, to compare builds in one run. Needs memory for several
times the size, below --work and in the server.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import time

import child
import gateway
import inputs
import link
import memory
import report
import results
import script

MIB = 1 << 20
REMOTE = f"bench:{gateway.BUCKET}"
RANGE_BYTES = 4 * MIB
GETS_AT_ONCE = 16
# Processes of curl: one alone may be the bottleneck, many cost. The fastest counts.
CURLS = (1, 2, 4)
# snapstore reads a file again when its time stamps are less than two seconds older than the
# snapshot before.
SETTLE_SECONDS = 2.2


def noise(path, size, rng):
    with open(path, "wb") as file:
        for begin in range(0, size, MIB):
            file.write(rng.randbytes(min(MIB, size - begin)))


def make_noise(path, size, _files, rng):
    os.makedirs(path)
    noise(os.path.join(path, "noise"), size, rng)


def make_noise_files(path, size, files, rng):
    for number in range(files):
        folder = os.path.join(path, f"{number % 100:02}")
        os.makedirs(folder, exist_ok=True)
        noise(os.path.join(folder, f"{number}"), size // files, rng)


def usr_until(size, rng):
    """Files of /usr with so many bytes together."""
    found = [(path, length) for path, length in inputs.usr_files() if 0 < length < 16 * MIB]
    rng.shuffle(found)
    for path, length in found:
        if size <= 0:
            return
        size -= length
        yield path


def make_usr(path, size, _files, rng):
    os.makedirs(path)
    with open(os.path.join(path, "usr"), "wb") as out:
        for source in usr_until(size, rng):
            out.write(inputs.read(source))


def make_usr_files(path, size, _files, rng):
    for source in usr_until(size, rng):
        target = os.path.join(path, os.path.relpath(source, "/usr"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)


INPUTS = {"noise": make_noise, "noise-files": make_noise_files, "usr": make_usr,
          "usr-files": make_usr_files}


class Snapstore:
    def __init__(self, binary, name, folder, server):
        self.binary, self.name = binary, name
        self.cache = os.path.join(folder, f"cache-{name}")
        self.out = os.path.join(folder, "out")
        self.env = {**server.aws(), "SNAPSTORE_CACHE_DIR": self.cache,
                    "SNAPSTORE_REPOSITORY": f"s3://{gateway.BUCKET}/{name}"}

    def run(self, *args):
        return child.run([self.binary, *args, "--quiet"], self.env)

    def start(self):
        shutil.rmtree(self.cache, ignore_errors=True)
        self.run("init")

    def upload(self, path):
        return self.run("snapshot", path)

    def restore(self, size):
        """Into fresh memory that is ready, with an empty cache."""
        shutil.rmtree(self.cache)
        with memory.ready(size * 5 // 4, os.path.dirname(self.out)):
            return self.run("restore", "latest", "--target", self.out)


class Rclone:
    name = "rclone"

    def __init__(self, server):
        aws = server.variables
        self.env = {"RCLONE_CONFIG_BENCH_TYPE": "s3", "RCLONE_CONFIG_BENCH_PROVIDER": "Ceph",
                    "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint,
                    "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": aws["AWS_ACCESS_KEY_ID"],
                    "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": aws["AWS_SECRET_ACCESS_KEY"],
                    "RCLONE_CONFIG": "/dev/null"}

    def start(self):
        pass

    def upload(self, path):
        return child.run(["rclone", "copy", "--s3-no-check-bucket", path, f"{REMOTE}/rclone"],
                         self.env)


class Aws:
    name = "aws"

    def __init__(self, server):
        self.endpoint = server.endpoint
        self.env = {**server.aws(), "AWS_CONFIG_FILE": "/dev/null", "AWS_PAGER": ""}

    def start(self):
        pass

    def upload(self, path):
        return child.run([gateway.AWS, "s3", "cp", "--quiet", "--recursive", "--endpoint-url",
                          self.endpoint, path, f"s3://{gateway.BUCKET}/aws"], self.env)


def tools(options, folder, server):
    ours = [Snapstore(binary, f"snapstore-{n}" if n else report.SNAPSTORE, folder, server)
            for n, binary in enumerate(options.snapstore)]
    return ours, [Rclone(server), Aws(server)]


class Samples:
    """Values by tool and step."""

    def __init__(self, name, size):
        self.name, self.size, self.values = name, size, {}

    def add(self, tool, step, unit, value):
        self.values.setdefault((tool, step, unit), []).append(value)

    def run(self, tool, step, run):
        self.add(tool, step, "s", run.seconds)
        self.add(tool, f"{step}_cpu", "s", run.cpu_seconds)
        self.add(tool, f"{step}_peak", "MiB", run.peak_mib)

    def lines(self):
        return [results.result("s3", tool, step, unit, values, input=self.name, bytes=self.size,
                               data_bytes=self.size)
                for (tool, step, unit), values in self.values.items()]


def upload(options, folder, path, samples):
    with gateway.running(folder) as server:
        ours, others = tools(options, folder, server)
        turn = [*ours, *others]
        random.shuffle(turn)
        for tool in turn:
            tool.start()
            samples.run(tool.name, "upload", tool.upload(path))


def ranges(objects):
    """(key, first byte, last byte) of all that the objects hold."""
    return [(key, begin, min(begin + RANGE_BYTES, size) - 1)
            for key, size in objects for begin in range(0, size, RANGE_BYTES)]


def get_all(folder, server, pieces, count):
    """Seconds that `count` processes of curl take to get all pieces, GETS_AT_ONCE at a time."""
    commands = []
    sign, user, header = server.signing()[1::2]
    for number in range(count):
        config = os.path.join(folder, f"curl-{number}")
        with open(config, "w", encoding="ascii") as file:
            file.write("\nnext\n".join(
                f'url = "{server.endpoint}/{gateway.BUCKET}/{key}"\nrange = {begin}-{end}\n'
                f'output = /dev/null\nfail\naws-sigv4 = "{sign}"\nuser = "{user}"\n'
                f'header = "{header}"' for key, begin, end in pieces[number::count]))
        commands.append(["curl", "--no-progress-meter", "--parallel", "--parallel-immediate",
                         "--parallel-max", str(GETS_AT_ONCE // count), "-K", config])
    begin = time.monotonic()
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    for process, command in zip(processes, commands):
        if process.wait() != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - begin


def restore(options, folder, path, samples):
    with gateway.running(folder) as server:
        ours, _ = tools(options, folder, server)
        for tool in ours:
            tool.start()
            tool.upload(path)
            objects = [(key, size) for key, size in server.objects()
                       if key.startswith(f"{tool.name}/")]
            stored = sum(size for _, size in objects)
            for count in CURLS:
                seconds = get_all(folder, server, ranges(objects), count)
                samples.add(tool.name, f"get_{count}", "B/s", stored / seconds)
            run = tool.restore(samples.size)
            inputs.run("diff", "-r", "--no-dereference", path, tool.out + path)
            shutil.rmtree(tool.out)
            samples.run(tool.name, "restore", run)
            samples.add(tool.name, "restore_stored", "B/s", stored / run.seconds)
            samples.add(tool.name, "restore_plain", "B/s", samples.size / run.seconds)


def requests(options, folder, path, samples):
    """A second snapshot that reads all and stores nothing, of once and twice the data."""
    with gateway.running(folder) as server:
        ours, _ = tools(options, folder, server)
        for tool in ours:
            for times in (1, 2):
                tool.env["SNAPSTORE_REPOSITORY"] += f"-{times}"
                copies = os.path.join(folder, "copies")
                for number in range(times):
                    shutil.copytree(path, os.path.join(copies, str(number)))
                    for name in os.listdir(os.path.join(copies, str(number))) if number else ():
                        made = os.path.join(copies, str(number), name)
                        if os.path.isfile(made):
                            noise(made, os.path.getsize(made), random.Random(number))
                tool.start()
                tool.upload(copies)
                time.sleep(SETTLE_SECONDS)
                before = len(server.requests())
                done = subprocess.run([tool.binary, "snapshot", "--parent", "none", "--json", copies],
                                      env={**os.environ, **tool.env}, check=True,
                                      capture_output=True)
                summary = json.loads(done.stdout.splitlines()[-1])
                made = server.requests()[before:]
                samples.add(tool.name, f"chunks_{times}", "", summary["chunks_total"])
                samples.add(tool.name, f"requests_{times}", "", len(made))
                samples.add(tool.name, f"new_chunks_{times}", "", summary["chunks_new"])
                shutil.rmtree(copies)


def prune(options, folder, path, samples):
    with gateway.running(folder) as server:
        ours, _ = tools(options, folder, server)
        for tool in ours:
            changed = os.path.join(folder, "changed")
            shutil.copytree(path, changed)
            tool.start()
            tool.upload(changed)
            time.sleep(SETTLE_SECONDS)
            files = sorted(os.path.join(at, name) for at, _, names in os.walk(changed)
                           for name in names)
            for number in range(0, len(files), 10):
                noise(files[number], os.path.getsize(files[number]), random.Random(-1 - number))
            tool.upload(changed)
            shutil.rmtree(changed)
            tool.run("forget", "--keep-last", "1")
            stored = sum(size for _, size in server.objects())
            done = subprocess.run([tool.binary, "prune", "--max-unused", "0", "--json"],
                                  env={**os.environ, **tool.env}, check=True, capture_output=True)
            documents = {document["message_type"]: document
                         for document in map(json.loads, done.stdout.splitlines())}
            plan, summary = documents["plan"], documents["summary"]
            usage = summary["store"]
            moved = usage["bytes_up"] + usage["bytes_down"]
            add = samples.add
            add(tool.name, "prune", "s", summary["seconds"])
            add(tool.name, "prune_unused", "%", 100 - 100 * plan["bytes_live"] / plan["bytes_packs"])
            add(tool.name, "prune_rewritten", "MiB", plan["bytes_rewrite"] / MIB)
            add(tool.name, "prune_stored_again", "MiB", summary["bytes_written"] / MIB)
            add(tool.name, "prune_moved", "MiB", moved / MIB)
            if summary["bytes_written"]:
                add(tool.name, "prune_moved_per_byte", "", moved / summary["bytes_written"])
            add(tool.name, "prune_freed", "MiB",
                (stored - sum(size for _, size in server.objects())) / MIB)


PARTS = {"upload": upload, "restore": restore, "requests": requests, "prune": prune}


def measure(name, options, folder):
    path = os.path.join(folder, name)
    INPUTS[name](path, options.size_mib * MIB, options.files, random.Random(options.seed))
    size = sum(os.path.getsize(os.path.join(at, file))
               for at, _, files in os.walk(path) for file in files)
    samples = Samples(name, size)
    for run in range(options.runs):
        for part in options.part or PARTS:
            script.note(f"{name}: run {run + 1} of {options.runs}, {part}")
            PARTS[part](options, folder, path, samples)
    shutil.rmtree(path)
    return samples.lines()


def shares(lines):
    """A sentence on each build: what its restores reach of what the server gives."""
    medians = {(line["tool"], line["step"]): line["median"] for line in lines}
    for tool in report.tools_of(lines):
        gets = [medians[tool, f"get_{count}"] for count in CURLS if (tool, f"get_{count}") in medians]
        if gets:
            yield (f"{tool} restores {100 * medians[tool, 'restore_stored'] / max(gets):.0f} % of what "
                   f"the server gives, in stored bytes; {100 * medians[tool, 'restore_plain'] / max(gets):.0f} % "
                   "in restored ones")


def table(lines):
    steps = {line["step"]: line["step"].replace("_", " ") for line in lines}
    return "\n".join([f"{lines[0]['input']}, {lines[0]['bytes'] / 1e6:.0f} MB", "",
                      report.step_table(lines, steps), "", *shares(lines)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--snapstore", action="append", metavar="BINARY")
    add("--part", action="append", choices=PARTS)
    add("--input", action="append", choices=INPUTS)
    add("--work", default="/dev/shm/snapstore-bench", help="default %(default)s")
    add("--size-mib", type=int, default=400, help="default %(default)s")
    add("--files", type=int, default=4000, help="of noise-files; default %(default)s")
    add("--runs", type=int, default=5, help="default %(default)s")
    add("--seed", type=int, default=1)
    add("--link-mbit", type=int, metavar="N", help="million bits a second, both ways together; root")
    add("--json", type=argparse.FileType("a"), metavar="FILE")
    options = parser.parse_args()
    options.snapstore = options.snapstore or [
        os.path.join(script.BUILD, "tools/snapstore/snapstore")]
    for program in ("radosgw", "rclone", gateway.AWS, "curl"):
        script.need(program, "bench/s3.py")
    versions = {report.SNAPSTORE: results.version(options.snapstore[0], "--version"),
                "rclone": results.version("rclone", "version"),
                "aws": results.version(gateway.AWS, "--version")}
    # The server speaks plain HTTP; rclone refuses to start with a bundle that it cannot take.
    os.environ.pop("AWS_CA_BUNDLE", None)
    if options.link_mbit:
        link.enter(options.link_mbit)
    with script.scratch(options.work) as folder:
        for name in options.input or INPUTS:
            lines = measure(name, options, folder)
            if options.json:
                results.append(options.json, results.machine("s3", folder, versions), *lines)
            print(table(lines), end="\n\n", flush=True)


if __name__ == "__main__":
    script.start(main)
