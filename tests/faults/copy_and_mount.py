"""What a faulty run does beside the commands on its own repository: it copies into a second one, and
reads files through a mount."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import time

from violation import Violation

HAVE_FUSE = os.path.exists("/dev/fuse") and os.geteuid() == 0
READ_SECONDS = 120
UNMOUNT_SECONDS = 30
FILES_READ = 4


class CopyAndMount:
    """Mixed into faulty_run.Run."""

    # A second repository.

    def settings_of_second(self):
        return ["--to-o" if word == "-o" else word for word in self.settings]

    def copy(self):
        if not self.second_made:
            self.sure("-r", self.second, *self.init())
            self.second_made = True
        wanted = self.certain()
        done = self.attempt("copy", "--quiet", "--to", self.second, *self.settings_of_second())
        if done is not None and done[0] == 0:
            self.copied.update({snapshot: self.done[snapshot] for snapshot in wanted})

    def verify_copies(self):
        """All that a copy said to have copied is in the second repository, which is whole."""
        if not self.second_made:
            return
        self.sure("-r", self.second, "check", "--read-data")
        listed = json.loads(self.sure("-r", self.second, "list", "--json").splitlines()[0])
        missing = set(self.copied)
        for copy in listed:
            shown = json.loads(self.sure("-r", self.second, "--json", "show", copy["id"]).splitlines()[0])
            missing.discard(shown["original_id"])
            target = os.path.join(self.dir, "out")
            self.sure("-r", self.second, "restore", copy["id"], "--quiet", "--target", target)
            self.compare_with(target, int(copy["tags"]["step"]), f"copy {copy['id']}")
            shutil.rmtree(target)
        if missing:
            raise Violation(f"copy: the second repository lacks {sorted(missing)}")

    # A mount.

    def mount(self):
        """Files of a snapshot, read through a mount that may be killed meanwhile."""
        if not HAVE_FUSE:
            return
        snapshot = self.random.choice(self.certain())
        directory = os.path.join(self.dir, "mnt")
        os.makedirs(directory, exist_ok=True)
        kill = self.random.random() < self.kill_chance
        before = len(self.proxy.log)
        args = ("--json", "mount", directory)
        process = self.start(self.proxy.variables, 0, True, args)
        failed = []
        try:
            # A start that takes its time tells of its progress first.
            if any(b'"mounted"' in line for line in iter(process.stdout.readline, b"")):
                failed = self.read_files(directory, snapshot)
                process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            code, _, err = self.end_mount(process)
        finally:
            self.unmount(process, directory)
        faults = self.faults_since(before)
        if code == -signal.SIGKILL:
            self.outcomes.append(("mount", "killed", code, "", faults))
            return
        line = self.test_messages(args, code, err, faults)
        if failed and not faults and not self.use_haproxy:
            raise Violation(f"mount: reads failed although nothing was wrong: {failed} {err[-2000:]}")
        outcome = "failed" if code or failed else "done"
        self.outcomes.append(("mount", outcome, code, line or "".join(failed[:1]), faults))

    @staticmethod
    def end_mount(process):
        try:
            out, err = process.communicate(timeout=UNMOUNT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Violation(f"mount did not end within {UNMOUNT_SECONDS} s") from None
        return process.returncode, out.decode(), err.decode(errors="replace")

    @staticmethod
    def unmount(process, directory):
        process.kill()
        process.wait()
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            mounted = any(line.split()[4] == directory for line in table)
        if mounted:
            subprocess.run(["umount", "--lazy", directory], check=True)

    def read_files(self, directory, snapshot):
        """Errors of those that could not be read; each that could be must be right."""
        state = self.states[self.done[snapshot]]
        # A description has the digest of a file's data alone: none with holes.
        whole = sorted(path for path, entry in state.items()
                       if stat.S_ISREG(entry["type"]) and
                       sum(end - begin for begin, end in entry["segments"]) == entry["size"])
        failed = []
        for path in self.random.sample(whole, min(FILES_READ, len(whole))):
            file = os.path.join(directory, "ids", snapshot, self.src.lstrip("/"), os.fsdecode(path))
            # By a process of its own: a read that hangs can be given up.
            began = time.monotonic()
            try:
                done = subprocess.run(["cat", file], stdin=subprocess.DEVNULL, timeout=READ_SECONDS,
                                      capture_output=True, check=False)
            except subprocess.TimeoutExpired:
                raise Violation(f"mount: {file} was not read within {time.monotonic() - began:.0f} s"
                                ) from None
            error = done.stderr.decode(errors="replace")
            if "No such file" in error:
                raise Violation(f"mount: {error}")
            if done.returncode != 0:
                failed.append(error.strip())
            elif hashlib.sha256(done.stdout).hexdigest() != state[path]["content"]:
                raise Violation(f"mount: {file} differs")
        return failed
