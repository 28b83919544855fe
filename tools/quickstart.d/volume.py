"""A small ext4 volume in an image file, mounted through a loop device."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import time


def run(*command):
    """Runs a command to its end; its words are shown when it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {result.returncode}:"
                           f" {(result.stderr or result.stdout).strip()}")
    return result.stdout


class Volume:
    """The image at `image`, mounted at `mount_point` between mount() and unmount()."""

    def __init__(self, image, mount_point):
        self.image = image
        self._mount_point = mount_point
        self._round = 0
        os.makedirs(mount_point, exist_ok=True)

    def create(self, mib):
        with open(self.image, "wb") as file:
            file.truncate(mib << 20)
        run("mkfs.ext4", "-q", "-F", self.image)

    def check(self):
        """A forced, read-only file-system check; raises when anything is wrong."""
        run("e2fsck", "-fn", self.image)

    def mount(self, read_only=False):
        run("mount", "-o", "loop,ro,noload" if read_only else "loop", self.image,
            self._mount_point)

    def unmount(self):
        """Idempotent; waits until the loop device has let the image go."""
        if os.path.ismount(self._mount_point):
            run("umount", self._mount_point)
        deadline = time.monotonic() + 10
        while os.path.exists(self.image) and run("losetup", "-j", self.image).strip():
            if time.monotonic() > deadline:
                raise RuntimeError(f"a loop device still holds {self.image}")
            time.sleep(0.05)

    def fill(self, source, bytes_max):
        """Real files to begin with: those of `source`, up to `bytes_max`."""
        copied = 0
        for folder, names, leaves in os.walk(source):
            names.sort()
            for leaf in sorted(leaves):
                path = os.path.join(folder, leaf)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                size = os.path.getsize(path)
                if copied + size > bytes_max:
                    continue
                target = os.path.join(self._mount_point, os.path.relpath(path, source))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(path, target)
                copied += size
        return copied

    def change(self):
        """What an application might do between two checkpoints: append, rewrite, add, delete."""
        self._round += 1
        with open(os.path.join(self._mount_point, "journal.txt"), "a", encoding="ascii") as file:
            for line in range(2000):
                file.write(f"round {self._round} line {line} {hash((self._round, line)):016x}\n")
        with open(os.path.join(self._mount_point, f"added-{self._round}.bin"), "wb") as file:
            file.write(os.urandom(1 << 20))
        if self._round > 1:
            os.remove(os.path.join(self._mount_point, f"added-{self._round - 1}.bin"))

    @contextlib.contextmanager
    def frozen(self):
        """All that was written is in the image, and nothing is written meanwhile."""
        run("fsfreeze", "--freeze", self._mount_point)
        try:
            yield
        finally:
            run("fsfreeze", "--unfreeze", self._mount_point)

    def checksums(self):
        """{relative path: SHA-256} of every file."""
        sums = {}
        for folder, _, leaves in os.walk(self._mount_point):
            for leaf in leaves:
                path = os.path.join(folder, leaf)
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                sums[os.path.relpath(path, self._mount_point)] = digest
        return sums
