"""One run of a repository on an S3 server that nothing can be relied on from, drawn from one seed.

A run takes a small tree or volume and a few commands through a proxy that makes trouble. Each
command must succeed, or fail with its exit code and one line that says which operation failed and what
the server last said. Afterwards, without the proxy, the repository must be whole, every snapshot
whose command said "done" must be there, and every snapshot that is there must come back bit for bit.
"""

import collections
import functools
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import compare
import s3_request
from copy_and_mount import HAVE_FUSE, CopyAndMount
from fault_plan import FAULTS, Plan, Tokens
from fault_proxy import FaultProxy
from haproxy import HaProxy
from local_server import variables_of
from violation import Violation

BUCKET = "faults"
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
COMMAND_SECONDS = 120
INIT_ATTEMPTS = 4
# What a line about a failed request has to name: the operation, and what was wrong with the answer.
OPERATION = re.compile(r"\b(get|put|head|post|stat|list|delete|abort|config|key|snapshot|segment|pack|chunk|manifest|credentials?|repository|mark|lease)\b")
ANSWER = re.compile(
    r"given up after|HTTP \d{3}|[A-Z][a-z]+[A-Z]\w+|the server |the object ends|checksum|damage|"
    r"not what|already|somebody else|no repository|no such|sent more|credential|match|cut short|\d: ")
# Exit codes that a failing server may lead to: failed, no repository (init never made it), busy,
# damage (what the server returned was not what was stored).
FAILED, NO_REPOSITORY, BUSY, DAMAGE = 1, 10, 11, 13


DAMAGE_LINE = re.compile("^warning: |damage|does not match|inconsistent|checksum")
# Only these look like damage: the last one to who reads an object of unknown length.
BIT_FAULTS = {"answer-bit", "answer-bits-stay", "length-too-short"}


# Leases of writers that were killed are waited for; not here.
PRUNE = ("prune", "--quiet", "--max-seconds", "3")


@functools.lru_cache
def commands_of(binary):
    """The names of the program's commands."""
    text = subprocess.run([binary, "help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.findall(r"^  ([a-z]+)  ", text, re.MULTILINE)


class Run(CopyAndMount):

    def __init__(self, binary, server, seed, folder):
        self.binary = binary
        self.server = server
        self.seed = seed
        self.dir = folder
        self.random = random.Random(seed)
        self.src = os.path.join(folder, "src")
        self.repo = f"s3://{BUCKET}/{seed}-{os.getpid()}-{time.monotonic_ns()}"
        self.second = self.repo + "-second"
        self.second_made = False
        self.copied = {}       # id -> step, of snapshots that a copy said to be in the second
        self.states = {}       # step -> what the source was when that snapshot was taken
        self.done = {}         # id -> step, of snapshots whose command said so
        self.unsure = set()    # snapshots of these that a forget may have taken
        self.forgotten = set()
        self.outcomes = []     # (command, "done" | "failed" | "killed", exit code, last line, faults)
        self.notes = []
        self.initialised = False
        self.seconds = 0.3     # that a command took last
        self.step = 0
        self.plan_run()

    def plan_run(self):
        draw = self.random
        names = sorted(FAULTS)
        some = draw.sample(names, draw.randint(1, 5)) if draw.random() < 0.7 else names
        self.plan = Plan(
            faults=tuple(some), probability=draw.choice((0.02, 0.05, 0.1, 0.2, 0.35, 0.6)),
            page_keys=draw.choice((0, 0, 1, 2, 5)) if any(n.startswith("page") for n in some) else 0)
        if draw.random() < 0.12:
            self.plan.tokens = Tokens(os.path.join(self.dir, "token.json"), self.server,
                                      draw.randint(20, 60))
        self.clock_hours = draw.choice((-30, -3, 2, 26)) if draw.random() < 0.08 else 0
        self.use_haproxy = self.plan.tokens is None and draw.random() < 0.08
        self.kill_chance = draw.choice((0, 0, 0.3))
        self.settings = ["-o", f"s3.retry-seconds={draw.choice((1, 2, 4))}"]
        if draw.random() < 0.2:
            self.settings += ["-o", "s3.multipart-above=50K"]
        if draw.random() < 0.2:
            self.settings += ["-o", f"s3.connections={draw.choice((1, 2, 5))}"]
        self.notes.append(
            f"seed {self.seed}: probability {self.plan.probability}, faults {', '.join(some)}"
            if len(some) < len(names) else
            f"seed {self.seed}: probability {self.plan.probability}, all faults")
        # By itself, so that the rest of the run is the same without it.
        self.encrypted = ("key" in commands_of(self.binary) and
                          random.Random(f"{self.seed}/encrypted").random() < 0.25)
        self.notes.append(
            f"  encrypted {self.encrypted}, pages of {self.plan.page_keys}, "
            f"tokens {self.plan.tokens is not None}, clock {self.clock_hours:+} h, "
            f"haproxy {self.use_haproxy}, kills {self.kill_chance}, {' '.join(self.settings)}")

    # What is stored.

    def make_source(self):
        os.mkdir(self.src)
        for number in range(self.random.randint(1, 25)):
            folder = os.path.join(self.src, *["d"] * self.random.randint(0, 3))
            os.makedirs(folder, exist_ok=True)
            self.write(os.path.join(folder, f"f{number}"), self.random.randint(0, 60_000))
        self.write(os.path.join(self.src, "large"), self.random.randint(100_000, 2_000_000))
        with open(os.path.join(self.src, "volume"), "wb") as file:
            file.truncate(4 << 20)
            for _ in range(self.random.randint(0, 20)):
                file.seek(self.random.randrange(1000) * 4096)
                file.write(self.random.randbytes(4096))
        os.symlink("large", os.path.join(self.src, "link"))

    def write(self, path, size):
        with open(path, "wb") as file:
            # Half of it compresses.
            file.write(self.random.randbytes(size // 2) + b"0123456789abcdef" * (size // 32))

    def change_source(self):
        for _ in range(self.random.randint(1, 5)):
            self.write(os.path.join(self.src, f"new{self.random.randrange(100)}"),
                       self.random.randint(1, 200_000))
        with open(os.path.join(self.src, "large"), "r+b") as file:
            file.seek(self.random.randrange(90_000))
            file.write(self.random.randbytes(5000))
        with open(os.path.join(self.src, "volume"), "r+b") as file:
            file.seek(self.random.randrange(1000) * 4096)
            file.write(self.random.randbytes(8192))

    # Commands.

    def environment(self, variables, node, faulty):
        env = {name: value for name, value in os.environ.items()
               if not name.startswith(("SNAPSTORE_", "AWS_"))}
        env.update({name: value for name, value in variables.items() if name.startswith("AWS_")})
        env.update({"HOME": self.dir, "SNAPSTORE_REPOSITORY": self.repo,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "SNAPSTORE_CACHE_DIR": os.path.join(self.dir, f"cache-{node}")})
        if self.encrypted:
            env["SNAPSTORE_PASSWORD"] = env["SNAPSTORE_PASSWORD2"] = f"of run {self.seed}"
        if faulty and self.plan.tokens is not None:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                del env[name]
            env["AWS_CONFIG_FILE"] = self.plan.tokens.config
        if faulty and self.clock_hours:
            env.update({"LD_PRELOAD": FAKETIME[0], "FAKETIME": f"{self.clock_hours:+}h",
                        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"})
        return env

    def start(self, variables, node, faulty, args):
        return subprocess.Popen(
            [self.binary, *args, *(self.settings if faulty else ())],
            env=self.environment(variables, node, faulty), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, process, args):
        try:
            out, err = process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Violation(f"{' '.join(args)} went on for more than {COMMAND_SECONDS} s") from None
        return process.returncode, out.decode(), err.decode(errors="replace")

    def attempt(self, *args, node=0, expected=None):
        """A command through the proxy. Returns (exit code, standard output), or None when killed.
        An error that matches `expected` needs no fault."""
        before = len(self.proxy.log)
        began = time.monotonic()
        process = self.start(self.proxy.variables, node, True, args)
        kill = self.random.random() < self.kill_chance
        if kill:
            timer = threading.Timer(self.random.uniform(0, 1.2) * self.seconds, process.send_signal,
                                    [signal.SIGKILL])
            timer.start()
        code, out, err = self.finish(process, args)
        if kill:
            timer.cancel()
        elif code == 0:
            self.seconds = time.monotonic() - began
        faults = self.faults_since(before)
        name = " ".join(word for word in args[:2] if word.isalpha())
        if code == -signal.SIGKILL:
            self.outcomes.append((name, "killed", code, "", faults))
            return None
        line = self.test_messages(args, code, err, faults, expected, out)
        self.outcomes.append((name, "failed" if code else "done", code, line, faults))
        return code, out

    def faults_since(self, before):
        """The kinds of trouble met since the log had that length."""
        kinds = {line.split(":")[0] for line in self.proxy.log[before:]}
        return kinds | ({"clock"} if self.clock_hours else set())

    def test_messages(self, args, code, err, faults, expected=None, out=""):
        """The one line with which a command failed."""
        command = " ".join(args)
        if code < 0:
            raise Violation(f"{command} died of signal {-code}: {err[-2000:]}")
        said = [json.loads(line)["message"] if line.startswith("{") else line
                for line in err.splitlines()
                if line.startswith(("snapstore: ", '{"message_type":"exit_error"'))]
        if code == 0:
            if said:
                raise Violation(f"{command} ended with 0 and said {said}")
            return ""
        if code not in (FAILED, NO_REPOSITORY, BUSY, DAMAGE):
            raise Violation(f"{command} ended with {code}: {err[-2000:]}")
        if code == DAMAGE and not faults & BIT_FAULTS:
            raise Violation(f"{command} speaks of damage that there is not: {err[-1000:]} {out[-1000:]}")
        if code == DAMAGE and not said:
            # Findings, a line each.
            said = [line for line in (err + out).splitlines() if DAMAGE_LINE.search(line)][:1]
            return said[0] if said else self.no_line(command, code, err)
        if len(said) != 1:
            self.no_line(command, code, err)
        line = said[0]
        if not OPERATION.search(line.lower()) or not ANSWER.search(line):
            raise Violation(f"{command}: the error does not say what failed and why: {line}")
        # HAProxy writes its log when it pleases.
        if not faults and not self.use_haproxy and not (expected and re.search(expected, line)):
            raise Violation(f"{command} failed although nothing was wrong: {line}")
        return line

    @staticmethod
    def no_line(command, code, err):
        raise Violation(f"{command} ended with {code} and not with one line: {err[-2000:]}")

    def sure(self, *args, node="sure", codes=(0,)):
        """A command without the proxy, which has to succeed."""
        code, out, err = self.finish(self.start(self.server, node, False, args), args)
        if code not in codes:
            raise Violation(f"{' '.join(args)} ended with {code}, without any fault: {err[-2000:]}")
        return out

    # The run.

    def go(self):
        self.make_source()
        maker = HaProxy if self.use_haproxy else FaultProxy
        with maker(self.server, self.seed, self.plan) as self.proxy:
            self.initialise()
            for _ in range(self.random.randint(3, 7)):
                self.command()
        if self.initialised:
            self.verify()
        self.remove_objects()

    def init(self):
        return ("init", "--quiet", *(("--encrypt",) if self.encrypted else ()))

    def initialise(self):
        for attempt in range(INIT_ATTEMPTS):
            # An attempt that failed may have made it all the same.
            done = self.attempt(*self.init(), expected="already|somebody else" if attempt else None)
            if done is not None and done[0] == 0:
                self.initialised = True
                return
        # Perhaps it is there, perhaps not; from here on it is.
        self.sure(*self.init(), codes=(0, FAILED))
        self.sure("list")
        self.initialised = True

    def command(self):
        draw = self.random
        if draw.random() < 0.2:
            shutil.rmtree(os.path.join(self.dir, "cache-0"), ignore_errors=True)
        kinds = ("snapshot",) * 5 + ("two", "restore", "restore", "check", "list", "dump", "rebuild")
        for command, more in (("prune", ("forget", "forget", "prune", "beside")),
                              ("copy", ("copy", "copy")), ("mount", ("mount",) * HAVE_FUSE)):
            if command in commands_of(self.binary):
                kinds += more
        kind = draw.choice(kinds)
        if kind == "snapshot":
            self.snapshot()
        elif kind == "two":
            self.two_snapshots()
        elif kind == "beside":
            self.two_at_once(self.next_step(), PRUNE)
        elif kind == "forget" and self.certain():
            self.forget()
        elif kind == "prune":
            self.attempt(*PRUNE, expected=".")
        elif kind == "restore" and self.certain():
            self.restore_faulty()
        elif kind == "check":
            self.attempt("check", *(("--read-data",) if draw.random() < 0.5 else ()))
        elif kind == "rebuild":
            self.attempt("repair", "index")
        elif kind == "dump" and self.certain():
            self.dump()
        elif kind == "copy":
            self.copy()
        elif kind == "mount" and self.certain():
            self.mount()
        elif kind == "list":
            done = self.attempt("list", "--json")
            if done is not None and done[0] == 0:
                self.test_listed(done[1])

    def next_step(self):
        """A source that has changed, and the command that stores it."""
        if self.step > 0:
            self.change_source()
        self.step += 1
        self.states[self.step] = compare.scan(self.src)
        return ("snapshot", "--quiet", "--tag", f"step={self.step}", self.src)

    def snapshot(self):
        done = self.attempt(*self.next_step(), node=self.random.choice((0, 0, 1)))
        if done is not None and done[0] == 0:
            self.done[done[1].split()[-1]] = self.step

    def two_snapshots(self):
        args = self.next_step()
        self.two_at_once(args, args)

    def two_at_once(self, *commands):
        """On two nodes."""
        before = len(self.proxy.log)
        processes = [self.start(self.proxy.variables, node, True, args)
                     for node, args in enumerate(commands)]
        results = [self.finish(process, args) for process, args in zip(processes, commands)]
        faults = self.faults_since(before)
        for args, (code, out, err) in zip(commands, results):
            # A prune may have to leave the field to another party.
            line = self.test_messages(args, code, err, faults, "." if args == PRUNE else None, out)
            self.outcomes.append((args[0], "failed" if code else "done", code, line, faults))
            if code == 0 and args != PRUNE:
                self.done[out.split()[-1]] = self.step

    def certain(self):
        """Snapshots that must be there."""
        return sorted(set(self.done) - self.unsure)

    def forget(self):
        snapshot = self.random.choice(self.certain())
        done = self.attempt("forget", snapshot)
        if done is not None and done[0] == 0:
            del self.done[snapshot]
            self.forgotten.add(snapshot)
        else:
            self.unsure.add(snapshot)

    def restore_faulty(self):
        snapshot = self.random.choice(self.certain())
        target = os.path.join(self.dir, "out")
        done = self.attempt("restore", snapshot, "--quiet", "--target", target)
        if done is not None and done[0] == 0:
            self.compare_with(target, self.done[snapshot], f"a restore of {snapshot} amid faults")
        shutil.rmtree(target, ignore_errors=True)

    def dump(self):
        snapshot = self.random.choice(self.certain())
        before = len(self.proxy.log)
        args = ("dump", snapshot, os.path.join(self.src, "volume"))
        process = self.start(self.proxy.variables, 0, True, args)
        out, err = process.communicate(timeout=COMMAND_SECONDS)
        faults = self.faults_since(before)
        line = self.test_messages(args, process.returncode, err.decode(), faults)
        self.outcomes.append(("dump", "failed" if process.returncode else "done",
                              process.returncode, line, faults))
        if process.returncode == 0 and len(out) != 4 << 20:
            raise Violation(f"dump of {snapshot} ended with 0 after {len(out)} bytes")

    def compare_with(self, target, step, what):
        found = compare.scan(os.path.join(target, self.src.lstrip("/")))
        if found != self.states[step]:
            differing = sorted(os.fsdecode(path) for path in {*found, *self.states[step]}
                               if found.get(path) != self.states[step].get(path))
            raise Violation(f"{what} differs in {differing[:5]}")

    def test_listed(self, text):
        """Every snapshot that was reported as done is listed, once. Returns {id: step}."""
        listed = json.loads(text.splitlines()[0])
        ids = collections.Counter(entry["id"] for entry in listed)
        missing = [snapshot for snapshot in self.certain() if ids[snapshot] != 1]
        back = sorted(self.forgotten & set(ids))
        if back:
            raise Violation(f"list: forgotten, and there again: {back}")
        if missing or any(count != 1 for count in ids.values()):
            raise Violation(f"list: {missing} missing, listed are {dict(ids)}")
        return {entry["id"]: int(entry["tags"]["step"]) for entry in listed}

    def verify(self):
        listed = self.test_listed(self.sure("list", "--json"))
        if self.random.random() < 0.3:
            # What killed and failed commands left is taken up, or is in nobody's way.
            done = self.sure(*self.next_step(), node=0)
            listed[done.split()[-1]] = self.step
        if "prune" in commands_of(self.binary) and self.random.random() < 0.5:
            self.sure(*PRUNE, codes=(0, BUSY))
        self.sure("check", "--read-data")
        for snapshot, step in listed.items():
            target = os.path.join(self.dir, "out")
            self.sure("restore", snapshot, "--quiet", "--target", target)
            self.compare_with(target, step, f"snapshot {snapshot}")
            shutil.rmtree(target)
        self.verify_copies()

    def remove_objects(self):
        """The server keeps everything in memory."""
        for repository in (self.repo, self.second):
            prefix = repository.split("/", 3)[3] + "/"
            for key in s3_request.list_keys(self.server, BUCKET, prefix):
                s3_request.request(self.server, "DELETE", f"/{BUCKET}/{key}")


def run_seed(binary, server_file, seed, parent):
    """A dict that tells how the run went; its "violation" is None when all was as it must be."""
    folder = os.path.join(parent, f"run-{seed}")
    os.mkdir(folder)
    run = None
    violation = None
    try:
        run = Run(binary, variables_of(server_file), seed, folder)
        run.go()
    except Violation as found:
        violation = str(found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    happened = dict(run.proxy.happened) if hasattr(run, "proxy") else {}
    return {"seed": seed, "violation": violation, "notes": run.notes, "outcomes": run.outcomes,
            "happened": happened, "log": run.proxy.log if hasattr(run, "proxy") else []}
