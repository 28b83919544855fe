"""The programs that are compared, each with what it is able to do."""

import copy
import os
import shutil

import child
import results

SNAPSTORE = "snapstore"


class Tool:
    """One program under test. All that it keeps is below a folder of its own in `folder`."""

    PROGRAMS = ()  # that must be installed
    KEEPS = True  # a store that knows what was stored before

    def __init__(self, folder):
        self.use(os.path.join(folder, self.name.replace(" ", "-")))

    def use(self, folder):
        self.folder = folder
        self.repo = os.path.join(folder, "repo")
        self.cache = os.path.join(folder, "cache")
        self.out = os.path.join(folder, "out")

    def env(self):
        return {}

    def run(self, *args, cwd=None):
        return child.run(args, self.env(), cwd)

    def start(self):
        """An empty repository, no cache."""
        self.clean()
        os.makedirs(self.folder)
        self.init()

    def init(self):
        os.makedirs(self.repo)

    def restored(self, path):
        """Where restore() puts what was stored as `path`."""
        return os.path.join(self.out, path.lstrip("/"))

    def forget_cache(self):
        """What a machine that has never seen the repository starts with."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def clean_out(self):
        if os.path.isfile(self.out):
            os.unlink(self.out)
        shutil.rmtree(self.out, ignore_errors=True)

    def clean(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def stored(self):
        return sum(os.path.getsize(os.path.join(folder, name))
                   for folder, _, names in os.walk(self.repo) for name in names)


class Snapstore(Tool):
    """`variant` names a further column; `options` go to `snapstore snapshot`."""

    def __init__(self, folder, binary, options=(), variant=None):
        self.name = f"{SNAPSTORE} {variant}" if variant else SNAPSTORE
        super().__init__(folder)
        self.binary = binary
        self.options = options

    def version(self):
        return " ".join((results.version(self.binary, "--version"), *self.options))

    def env(self):
        return {"SNAPSTORE_REPOSITORY": self.repo, "SNAPSTORE_CACHE_DIR": self.cache}

    def init(self):
        self.run(self.binary, "init", "--quiet")

    def backup(self, path, *options):
        return self.run(self.binary, "snapshot", "--quiet", *self.options, *options, path)

    def restore(self, *options):
        return self.run(self.binary, "restore", "latest", "--quiet", *options,
                        "--target", self.out)

    def copied(self):
        """The same with a copy of repository and cache, to be used and thrown away."""
        other = copy.copy(self)
        other.use(f"{self.folder}-copy")
        shutil.copytree(self.folder, other.folder)
        return other


class EncryptedSnapstore(Snapstore):
    """With an encrypted repository, opened by a key file: a password would add scrypt's time."""

    def __init__(self, folder, binary, options=()):
        super().__init__(folder, binary, options, "encrypted")

    def env(self):
        return {**super().env(), "SNAPSTORE_KEY_FILE": os.path.join(self.folder, "key")}

    def init(self):
        with open(self.env()["SNAPSTORE_KEY_FILE"], "wb") as file:
            file.write(os.urandom(64))
        self.run(self.binary, "init", "--quiet", "--encrypt")


class Restic(Tool):
    name = "restic"
    PROGRAMS = ("restic",)

    def version(self):
        return results.version("restic", "version")

    def env(self):
        return {"RESTIC_REPOSITORY": self.repo, "RESTIC_CACHE_DIR": self.cache,
                "RESTIC_PASSWORD": "benchmark"}

    def init(self):
        self.run("restic", "init", "--quiet")

    def backup(self, path):
        return self.run("restic", "backup", "--quiet", path)

    def restore(self):
        return self.run("restic", "restore", "latest", "--quiet", "--target", self.out)


class Borg(Tool):
    name = "borg"
    PROGRAMS = ("borg",)
    count = 0

    def version(self):
        return results.version("borg", "--version")

    def env(self):
        return {"BORG_REPO": self.repo, "BORG_BASE_DIR": self.cache,
                "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def init(self):
        self.run("borg", "init", "--encryption=none")

    def backup(self, path):
        self.count += 1
        return self.run("borg", "create", "--compression=zstd,1", f"::a{self.count}", path)

    def restore(self):
        os.makedirs(self.out)
        return self.run("borg", "extract", "--sparse", f"::a{self.count}", cwd=self.out)


class Casync(Tool):
    """With its own defaults; it looks for no cache unless it is told to."""

    name = "casync"
    PROGRAMS = ("casync",)
    count = 0

    def version(self):
        return results.version("casync", "--version")

    def index(self, path):
        suffix = "caidx" if os.path.isdir(path) else "caibx"
        return os.path.join(self.repo, f"version-{self.count}.{suffix}")

    def backup(self, path):
        self.count += 1
        self.last = self.index(path)
        return self.run("casync", "make", f"--store={self.repo}/store", self.last, path)

    def restore(self):
        return self.run("casync", "extract", f"--store={self.repo}/store", self.last, self.out)

    def restored(self, path):
        return self.out


class Tar(Tool):
    """An archive for each version: no repository, nothing found twice."""

    name = "tar+zstd"
    PROGRAMS = ("tar", "zstd", "bash")
    KEEPS = False
    count = 0

    def version(self):
        return f"{results.version('tar', '--version')}+{results.version('zstd', '--version')}"

    def pipe(self, command, *args, cwd=None):
        return self.run("bash", "-o", "pipefail", "-c", command, "bash", *args, cwd=cwd)

    def backup(self, path):
        self.count += 1
        self.last = os.path.join(self.repo, f"version-{self.count}.tar.zst")
        return self.pipe('tar -cf - -C "$1" "$2" | zstd -q -1 -T2 -o "$3"',
                         os.path.dirname(path), os.path.basename(path), self.last)

    def restore(self):
        os.makedirs(self.out)
        return self.pipe('zstd -q -dc "$1" | tar -xf -', self.last, cwd=self.out)

    def restored(self, path):
        return os.path.join(self.out, os.path.basename(path))


PEERS = {peer.name: peer for peer in (Restic, Borg, Casync, Tar)}
