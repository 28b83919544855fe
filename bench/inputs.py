"""Inputs that are one file, and what all inputs have in common.

All are real data made from this machine, in two versions.
"""

import functools
import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile

BLOCK = 4096
PIECE = 1 << 20
# What differs between the versions of a tree and of a tar file.
EDITED_SHARE = 0.02
REMOVED_SHARE = ADDED_SHARE = 0.005


def run(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


def usr_files():
    """(path, size) of the regular files in /usr, always in the same order."""
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path, os.path.getsize(path)


def edited(data, rng):
    """`data` with up to 4 KiB of noise somewhere: over what was there, or between it."""
    at = rng.randrange(len(data) + 1)
    noise = rng.randbytes(rng.randrange(1, BLOCK))
    return data[:at] + noise + data[at + rng.choice((0, len(noise))):]


def part(things, share):
    """How many a share of them is, at least one."""
    return max(1, round(len(things) * share))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def same_bytes(a, b):
    with open(a, "rb") as first, open(b, "rb") as second:
        while True:
            piece = first.read(PIECE)
            if piece != second.read(PIECE):
                return False
            if not piece:
                return True


class Versions:
    """Two versions of an input, and one place where every snapshot finds the current one."""

    def __init__(self, store, scratch, options):
        """Takes the versions from the folder `store`, or makes them there."""
        self.folder = os.path.join(store, self.title(options))
        self.live = os.path.join(scratch, "live", self.name)
        self.current = None
        os.makedirs(os.path.dirname(self.live))
        if not os.path.isdir(self.folder):
            with tempfile.TemporaryDirectory(prefix="making-", dir=store) as making:
                complete = os.path.join(making, "complete")
                os.mkdir(complete)
                self.make(complete, random.Random(options.seed), options)
                os.rename(complete, self.folder)
        self.versions = [os.path.join(self.folder, f"version-{number}") for number in (0, 1)]

    def title(self, options):
        """What tells apart the inputs that different options make."""
        return f"{self.name}-{options.size_mib}-MiB-seed-{options.seed}"

    def make(self, folder, rng, options):
        """Makes `version-0` and `version-1` in `folder`."""
        raise NotImplementedError

    def place(self, version):
        """Makes a version the current one, and returns the path of what is to be stored."""
        raise NotImplementedError

    def touch(self):
        """Gives the current version new time stamps."""
        raise NotImplementedError

    def sizes(self):
        """Bytes of version 1, and how many of them are not holes."""
        raise NotImplementedError

    def copy(self, version, path):
        """Puts a copy of a version at `path`."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        run("cp", "-a", self.versions[version], path)

    @property
    def changed_blocks(self):
        """(offset, length) of what version 1 changed, for inputs that are volumes."""
        return None

    def verify(self, restored, left_over=False):
        """Ends the benchmark if `restored` is not the current version.

        With `left_over`, files of version 0 that version 1 does not have may be there as well.
        """
        raise NotImplementedError

    def refuse(self, path):
        raise ValueError(f"{path} is not what was stored")


class OneFile(Versions):
    """Versions that are a file each."""

    def place(self, version):
        if os.path.exists(self.live):
            os.unlink(self.live)
        self.copy(version, self.live)
        os.utime(self.live)
        self.current = version
        return self.live

    def touch(self):
        os.utime(self.live)

    def sizes(self):
        stat = os.stat(self.versions[1])
        return stat.st_size, min(stat.st_size, stat.st_blocks * 512)

    def verify(self, restored, left_over=False):
        if not same_bytes(restored, self.versions[self.current]):
            self.refuse(restored)


class Image(OneFile):
    """An ext4 image with files from /usr, and the same after 2 % of its files were edited."""

    name = "image"
    FILLED_SHARE = 0.85

    def make(self, folder, rng, options):
        first, second = (os.path.join(folder, f"version-{number}") for number in (0, 1))
        mount = os.path.join(folder, "mount")
        os.mkdir(mount)
        with open(first, "wb") as file:
            file.truncate(options.size_mib << 20)
        run("mkfs.ext4", "-q", "-F", first)
        run("mount", "-o", "loop", first, mount)
        try:
            files = self.fill(mount, int(options.size_mib * self.FILLED_SHARE) << 20)
        finally:
            run("umount", mount)
        run("cp", "--sparse=always", first, second)
        run("mount", "-o", "loop", second, mount)
        try:
            for path in rng.sample(files, int(len(files) * EDITED_SHARE)):
                with open(path, "r+b") as file:
                    file.seek(rng.randrange(max(1, os.fstat(file.fileno()).st_size)))
                    file.write(rng.randbytes(rng.randrange(1, BLOCK)))
        finally:
            run("umount", mount)
        os.rmdir(mount)

    @staticmethod
    def fill(mount, bytes_max):
        """Copies files from /usr until the image is full enough; returns the copies' paths."""
        copied, total = [], 0
        for path, size in usr_files():
            if total + size > bytes_max:
                break
            target = os.path.join(mount, path.lstrip("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
            copied.append(target)
            total += size
        return copied

    @functools.cached_property
    def changed_blocks(self):
        ranges = []
        with open(self.versions[0], "rb") as first, open(self.versions[1], "rb") as second:
            for at in range(0, os.path.getsize(self.versions[1]), PIECE):
                old, new = first.read(PIECE), second.read(PIECE)
                if old == new:
                    continue
                for block in range(0, len(new), BLOCK):
                    if old[block:block + BLOCK] != new[block:block + BLOCK]:
                        ranges.append((at + block, min(BLOCK, len(new) - block)))
        return ranges


class TarFile(OneFile):
    """A tar file of part of /usr; in the second version files were edited, removed and added."""

    name = "tar"
    def make(self, folder, rng, options):
        files, total = [], 0
        for path, size in usr_files():
            files.append(path)
            total += size
            if total > options.size_mib << 20:
                break
        added = part(files, ADDED_SHARE)
        old, new = files[:-added], files[-added:]
        self.write(os.path.join(folder, "version-0"), old, set(), rng)
        removed = set(rng.sample(old, part(old, REMOVED_SHARE)))
        kept = [path for path in old if path not in removed]
        changed = set(rng.sample(kept, part(kept, EDITED_SHARE)))
        for path in new:
            kept.insert(rng.randrange(len(kept) + 1), path)
        self.write(os.path.join(folder, "version-1"), kept, changed, rng)

    @staticmethod
    def write(archive, paths, changed, rng):
        with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
            for path in paths:
                data = edited(read(path), rng) if path in changed else read(path)
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size = len(data)
                member.mode = os.stat(path).st_mode & 0o777
                member.mtime = int(os.stat(path).st_mtime)
                tar.addfile(member, io.BytesIO(data))
