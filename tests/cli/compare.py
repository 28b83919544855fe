"""Compares two trees in everything a snapshot has to keep; works on paths of any length."""

import hashlib
import os
import stat


def _segments(fd, size):
    """Data segments [begin, end) as the file system tells them."""
    out = []
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        out.append((begin, end))
        at = end
    return out


def _describe(dir_fd, name):
    info = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    out = {
        "type": stat.S_IFMT(info.st_mode),
        "mode": stat.S_IMODE(info.st_mode),
        "owner": (info.st_uid, info.st_gid),
        "mtime_ns": info.st_mtime_ns,
        "inode": (info.st_dev, info.st_ino),
    }
    # Short whatever the depth, and it does not follow the last component.
    path = b"/proc/self/fd/%d/%s" % (dir_fd, name)
    out["xattrs"] = {key: os.getxattr(path, key, follow_symlinks=False)
                     for key in os.listxattr(path, follow_symlinks=False)}
    if stat.S_ISREG(info.st_mode):
        out["size"] = info.st_size
        out["links"] = info.st_nlink
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dir_fd)
        try:
            out["segments"] = _segments(fd, info.st_size)
            digest = hashlib.sha256()
            for begin, end in out["segments"]:
                os.lseek(fd, begin, os.SEEK_SET)
                left = end - begin
                while left > 0:
                    part = os.read(fd, min(left, 1 << 20))
                    if not part:
                        break
                    left -= len(part)
                    digest.update(part)
            out["content"] = digest.hexdigest()
        finally:
            os.close(fd)
    elif stat.S_ISLNK(info.st_mode):
        out["target"] = os.readlink(name, dir_fd=dir_fd)
    elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        out["rdev"] = info.st_rdev
    return out


def scan(root):
    """{path below root as bytes: description}, the root itself as b'.'."""
    entries = {}

    def descend(dir_fd, prefix):
        for name in sorted(os.fsencode(n) for n in os.listdir(dir_fd)):
            path = os.path.join(prefix, name)
            entries[path] = _describe(dir_fd, name)
            if entries[path]["type"] == stat.S_IFDIR:
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
                try:
                    descend(child, path)
                finally:
                    os.close(child)

    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        entries[b"."] = _describe(fd, b".")
        descend(fd, b"")
    finally:
        os.close(fd)
    groups = {}
    for path, entry in entries.items():
        if entry["type"] != stat.S_IFDIR:
            groups.setdefault(entry["inode"], []).append(path)
    for entry in entries.values():
        entry["same_as"] = sorted(groups.get(entry.pop("inode"), []))
    return entries


def assert_same_tree(test, expected, found):
    """`expected` and `found` are roots, or results of scan()."""
    test.maxDiff = None
    expected = expected if isinstance(expected, dict) else scan(expected)
    found = found if isinstance(found, dict) else scan(found)
    test.assertEqual(sorted(expected), sorted(found))
    for path, entry in expected.items():
        test.assertEqual(entry, found[path], path)
