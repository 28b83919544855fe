"""What every black-box test needs: a scratch folder, a repository, the program, clean-up."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BINARY = os.environ.get("SNAPSTORE_BIN", "")
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


class Done:
    """A finished run: exit code, bytes written, and ways to read them."""

    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err

    @property
    def text(self):
        return self.out.decode("utf-8")

    @property
    def error_text(self):
        return self.err.decode("utf-8")

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def error_lines(self):
        return [json.loads(line) for line in self.error_text.splitlines()]

    def message(self, kind):
        found = [m for m in self.lines if m["message_type"] == kind]
        assert len(found) == 1, f"{len(found)} messages {kind!r} in {self.text}"
        return found[0]


class CliTest(unittest.TestCase):
    """A scratch folder `self.dir` (bytes paths work too) with an empty repository `self.repo`."""

    make_repository = True

    def setUp(self):
        if not BINARY:
            self.fail("SNAPSTORE_BIN must name the program under test")
        self.dir = tempfile.mkdtemp(prefix="snapstore-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.repo = os.path.join(self.dir, "repo")
        self.src = os.path.join(self.dir, "src")
        os.mkdir(self.src)
        seed = int(os.environ.get("SNAPSTORE_TEST_SEED", "0")) or random.SystemRandom().getrandbits(32)
        self.random = random.Random(seed)
        self.seed = seed
        if self.make_repository:
            self.ok("init")

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("SNAPSTORE_")}
        env["SNAPSTORE_REPOSITORY"] = self.repo
        env["SNAPSTORE_CACHE_DIR"] = os.path.join(self.dir, "cache")
        return env

    def start(self, *args, binary=None, wrap=(), env=None, **kwargs):
        return subprocess.Popen([*wrap, binary or BINARY, *args], env=env or self.environment(), **kwargs)

    def run_cli(self, *args, input=None, timeout=120, **kwargs):
        process = self.start(*args, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return Done(process.returncode, out, err)

    def expect(self, code, *args, **kwargs):
        done = self.run_cli(*args, **kwargs)
        self.assertEqual(done.code, code, f"seed {self.seed}; {args}\nstdout: {done.out[-2000:]!r}\n"
                                          f"stderr: {done.err[-2000:]!r}")
        return done

    def ok(self, *args, **kwargs):
        return self.expect(0, *args, **kwargs)

    def snapshot(self, *args, code=0, **kwargs):
        """Takes a snapshot of `args` (default: self.src) and returns its summary."""
        done = self.expect(code, "--json", "snapshot", *(args or (self.src,)), **kwargs)
        return done.message("summary")

    def one_line_error(self, code, *args, contains=(), **kwargs):
        """Expects failure with one clear line (and a hint after a usage error)."""
        done = self.expect(code, *args, **kwargs)
        lines = done.error_text.splitlines()
        self.assertEqual(len(lines), 2 if code == 2 else 1, done.error_text)
        self.assertTrue(lines[0].startswith("snapstore: "), done.error_text)
        for part in contains:
            self.assertIn(part, lines[0])
        return done

    def write(self, path, data, root=None):
        full = os.path.join(root or self.src, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)
        return full

    def read(self, path):
        with open(path, "rb") as f:
            return f.read()

    def target(self, name="out"):
        return os.path.join(self.dir, name)

    def restored(self, path, target=None):
        """Where `path` (absolute) lies below a restore target."""
        if isinstance(path, bytes):
            return os.path.join(os.fsencode(target or self.target()), path.lstrip(b"/"))
        return os.path.join(target or self.target(), path.lstrip("/"))

    def readable_binary(self):
        """A copy of the program that any user may run."""
        os.chmod(self.dir, 0o755)
        copy = os.path.join(self.dir, "snapstore")
        if not os.path.exists(copy):
            shutil.copy(BINARY, copy)
            os.chmod(copy, 0o755)
        return copy

    def wait_for(self, condition, seconds=30, what="condition"):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f"timed out waiting for {what}")
            time.sleep(0.02)


AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def run_tool(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def main():
    unittest.main(module=sys.modules["__main__"])
