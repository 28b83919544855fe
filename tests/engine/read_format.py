#!/usr/bin/env python3
"""Reads a snapstore repository in a directory, from docs/format.md and nothing else.

    read_format.py REPOSITORY list SNAPSHOT           one line an entry: type, size, path
    read_format.py REPOSITORY extract SNAPSHOT PATH   the file's bytes to standard output
    read_format.py REPOSITORY claims NAME             one line a claim: epoch, host, process; of a
                                                      base: epoch, ids of snapshots

An encrypted repository is opened with the password in SNAPSTORE_PASSWORD or the file that
SNAPSTORE_KEY_FILE names.

It proves the document, so it shares no code with the program. Only zstd, xxHash and AES (OpenSSL's)
come from outside, through ctypes.
"""
import ctypes
import ctypes.util
import hashlib
import hmac
import json
import os
import struct
import sys

class Damaged(Exception):
    pass


def require(condition, message):
    if not condition:
        raise Damaged(message)


def load(name):
    path = ctypes.util.find_library(name)
    require(path, "no library " + name)
    return ctypes.CDLL(path)


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


XXHASH = load("xxhash")
XXHASH.XXH3_64bits_withSeed.restype = ctypes.c_uint64
XXHASH.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
XXHASH.XXH3_128bits_withSecret.restype = Hash128
XXHASH.XXH3_128bits_withSecret.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                           ctypes.c_size_t]
ZSTD = load("zstd")
ZSTD.ZSTD_decompress.restype = ctypes.c_size_t
ZSTD.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def xxh3_64(data, seed=0):
    return XXHASH.XXH3_64bits_withSeed(data, len(data), seed)


def aes(mode, key, nonce, data, associated=b"", tag=None):
    """AES-256 of whole blocks ("ecb", to encrypt), or of a message to open ("gcm"); None if that
    does not open."""
    crypto = load("crypto")
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_" + mode):
        getattr(crypto, name).restype = ctypes.c_void_p
    cipher = ctypes.c_void_p(getattr(crypto, "EVP_aes_256_" + mode)())
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    out, done = ctypes.create_string_buffer(len(data) + 32), ctypes.c_int()
    try:
        seal = 1 if mode == "ecb" else 0
        require(crypto.EVP_CipherInit_ex(context, cipher, None, key, nonce, seal) == 1, "AES")
        crypto.EVP_CIPHER_CTX_set_padding(context, 0)
        if associated:
            crypto.EVP_CipherUpdate(context, None, ctypes.byref(done), associated, len(associated))
        crypto.EVP_CipherUpdate(context, out, ctypes.byref(done), data, len(data))
        if tag is not None:
            set_tag = 0x11
            crypto.EVP_CIPHER_CTX_ctrl(context, set_tag, len(tag), ctypes.c_char_p(tag))
        end = ctypes.create_string_buffer(32)
        good = crypto.EVP_CipherFinal_ex(context, end, ctypes.byref(done)) == 1
        return out.raw[:len(data)] if good else None
    finally:
        crypto.EVP_CIPHER_CTX_free(context)


def unzstd(data, size):
    out = ctypes.create_string_buffer(size)
    got = ZSTD.ZSTD_decompress(out, size, data, len(data))
    require(got == size, "frame does not decompress")
    return out.raw


class Reader:
    """Takes values from the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def empty(self):
        return self.at == len(self.data)

    def raw(self, size):
        require(self.at + size <= len(self.data), "cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.raw(1)[0]
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                require(value < 1 << 64, "varint too large")
                return value


def message(data):
    """A protobuf message as {field number: [values]}."""
    fields, reader = {}, Reader(data)
    while not reader.empty():
        key = reader.varint()
        if key & 7 == 0:
            value = reader.varint()
        elif key & 7 == 2:
            value = reader.raw(reader.varint())
        elif key & 7 == 1:
            value = reader.raw(8)
        else:
            require(key & 7 == 5, "unknown wire type")
            value = reader.raw(4)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def first(fields, number, default):
    return fields.get(number, [default])[-1]


def json_line(path):
    with open(path, "rb") as file:
        content = file.read()
    line, digest = content[:-65], content[-65:]
    require(hashlib.sha256(line).hexdigest().encode() + b"\n" == digest, path + " is damaged")
    return json.loads(line)


class Xaes:
    """XAES-256-GCM under one key, for one repository."""

    def __init__(self, repository, key):
        self.repository, self.key = repository, key
        doubled = int.from_bytes(aes("ecb", key, None, bytes(16)), "big") << 1
        self.subkey = doubled ^ (1 << 128 | 0x87) if doubled >> 128 else doubled

    def open(self, kind, nonce, sealed, clear):
        key = b""
        for counter in (1, 2):
            message = bytes([0, counter]) + b"X\0" + nonce[:12]
            mixed = int.from_bytes(message, "big") ^ self.subkey
            key += aes("ecb", self.key, None, mixed.to_bytes(16, "big"))
        plain = aes("gcm", key, nonce[12:], sealed[:-16], self.repository + bytes([kind]) + clear,
                    sealed[-16:])
        require(plain is not None, "does not open")
        return plain

    def box(self, kind, sealed, clear):
        return self.open(kind, sealed[:24], sealed[24:], clear)

    def part(self, kind, offset, sealed, clear):
        return self.open(kind, sealed[:16] + struct.pack("<Q", offset), sealed[16:], clear)


def slot_key(slot):
    """What the credential at hand gives for a slot, or None."""
    salt = bytes.fromhex(slot["salt"])
    password, key_file = os.environb.get(b"SNAPSTORE_PASSWORD"), os.environ.get("SNAPSTORE_KEY_FILE")
    if slot["kind"] == "scrypt" and password:
        require(128 * slot["n"] * slot["r"] <= 256 << 20, "slot is too costly")
        return hashlib.scrypt(password, salt=salt, n=slot["n"], r=slot["r"], p=slot["p"],
                              maxmem=1 << 30, dklen=32)
    if slot["kind"] == "file" and key_file:
        with open(key_file, "rb") as file:
            extracted = hmac.digest(salt, file.read(), "sha256")
        return hmac.digest(extracted, b"snapstore key file\x01", "sha256")
    return None


class Repository:
    def __init__(self, root):
        self.root = root
        self.frames = {}
        fields = json_line(os.path.join(root, "config"))
        require(fields["format"] == "snapstore" and fields["version"] in (1, 2), "unknown format")
        self.id = bytes.fromhex(fields["id"])
        self.cipher = None
        if fields["version"] == 1:
            self.secret = bytes.fromhex(fields["hash_secret"])
        else:
            require(fields["encryption"] == "xaes-256-gcm", "unknown encryption")
            self.cipher = Xaes(self.id, self.master_key())
            clear = struct.pack("<I", 2) + fields["created"].encode()
            secrets = self.cipher.box(7, bytes.fromhex(fields["sealed"]), clear)
            require(len(secrets) == 200, "secrets of wrong length")
            self.secret = secrets[:192]
        require(len(self.secret) == 192, "secret of wrong length")

    def master_key(self):
        folder = os.path.join(self.root, "keys")
        for name in sorted(os.listdir(folder)):
            slot = json_line(os.path.join(folder, name))
            require(slot["format"] == "snapstore-key" and slot["version"] == 1, "unknown slot")
            key = slot_key(slot)
            if key is None or bytes.fromhex(slot["repository"]) != self.id:
                continue
            try:
                sealed = bytes.fromhex(slot["key"])
                master = Xaes(self.id, key).box(8, sealed, slot["kind"].encode())
            except Damaged:
                continue
            about = Xaes(self.id, master).box(9, bytes.fromhex(slot["about"]), sealed)
            require(set(json.loads(about)) >= {"label", "host", "created"}, "slot says too little")
            return master
        raise SystemExit("no key slot opens")

    def check_flags(self, flags):
        require(flags == (0 if self.cipher is None else 1), "unexpected flags")

    def chunk(self, kind, pack, offset, length, place, chunk_id):
        """The verified bytes of one chunk."""
        chunks = self.frame(kind, pack, offset, length)
        require(place < len(chunks), "no such chunk in the frame")
        data = chunks[place]
        got = XXHASH.XXH3_128bits_withSecret(data, len(data), self.secret, len(self.secret))
        canonical = struct.pack(">QQ", got.high, got.low)
        require((canonical, len(data)) == chunk_id, "chunk does not match its id")
        return data

    def frame(self, kind, pack, offset, length):
        key = (pack, offset)
        if key not in self.frames:
            name = pack.hex()
            path = os.path.join(self.root, kind, name[:2], name)
            if not os.path.exists(path):
                other = "meta" if kind == "data" else "data"
                path = os.path.join(self.root, other, name[:2], name)
                kind = other
            with open(path, "rb") as file:
                file.seek(offset)
                stored = file.read(length)
            if len(self.frames) > 64:
                self.frames.clear()
            self.frames[key] = self.decode_frame(kind, offset, stored)
        return self.frames[key]

    def decode_frame(self, pack_kind, offset, stored):
        codec, flags, count, plain_size, size, magic, checksum = struct.unpack_from(
            "<BBHIIIQ", stored)
        payload = stored[24:]
        require(magic == 0x4d524653 and size == len(payload), "not a frame")
        require(xxh3_64(payload, xxh3_64(stored[:16])) == checksum, "frame is damaged")
        self.check_flags(flags)
        require(codec in (0, 1), "unknown frame")
        if self.cipher:
            payload = self.cipher.part(1 if pack_kind == "data" else 2, offset, payload, stored[:16])
        plain = unzstd(payload, plain_size) if codec == 1 else payload
        lengths = struct.unpack("<%dI" % count, plain[len(plain) - 4 * count:])
        require(sum(lengths) + 4 * count == plain_size == len(plain), "lengths do not fit")
        chunks, at = [], 0
        for length in lengths:
            chunks.append(plain[at:at + length])
            at += length
        return chunks


class Snapshot:
    def __init__(self, repository, name):
        self.repository = repository
        with open(os.path.join(repository.root, "snapshots", name), "rb") as file:
            data = file.read()
        require(hashlib.sha256(data).hexdigest() == name, "manifest is damaged")
        version, flags, length = struct.unpack_from("<HHI", data, 8)
        require(data[:8] == b"SNAPMANI" and version == 1, "unknown manifest")
        repository.check_flags(flags)
        require(len(data) == 16 + length, "manifest of wrong length")
        body = data[16:]
        if repository.cipher:
            body = repository.cipher.box(6, body, data[:16])
        self.manifest = message(body)
        self.packs = []
        for leaf in self.manifest.get(10, []):
            fields = message(leaf)
            table = repository.chunk("meta", first(fields, 3, b""), first(fields, 4, 0),
                                     first(fields, 5, 0), first(fields, 6, 0),
                                     (first(fields, 1, b""), first(fields, 2, 0)))
            require(len(table) == 8192, "leaf of the pack table is not full")
            self.packs += [table[i:i + 32] for i in range(0, len(table), 32)]
        tail = first(self.manifest, 11, b"")
        self.packs += [tail[i:i + 32] for i in range(0, len(tail), 32)]

    def leaves(self, root):
        """(leaf, span) of a node tree, in order."""
        fields = message(root)
        depth, nodes = first(fields, 1, 0), first(fields, 2, b"")
        span = first(fields, 3, 0)
        if depth == 0:
            yield nodes, span
        else:
            yield from self.children(nodes, depth, span)

    def children(self, node, depth, span):
        require(depth <= 8, "tree too deep")
        reader, total = Reader(node), 0
        while not reader.empty():
            data = self.metadata_chunk(reader)
            child_span, _items = reader.varint(), reader.varint()
            total += child_span
            if depth == 1:
                yield data, child_span
            else:
                yield from self.children(data, depth - 1, child_span)
        require(total == span, "spans do not add up")

    def metadata_chunk(self, reader):
        chunk_hash = reader.raw(16)
        length, pack, offset, frame_length, place = (reader.varint() for _ in range(5))
        return self.repository.chunk("meta", self.packs[pack], offset, frame_length, place,
                                     (chunk_hash, length))

    def entries(self):
        last = None
        for leaf, span in self.leaves(first(self.manifest, 12, b"")):
            reader, count = Reader(leaf), 0
            while not reader.empty():
                entry = message(reader.raw(reader.varint()))
                order = first(entry, 1, b"").replace(b"/", b"\0")
                require(last is None or last < order, "entries are out of order")
                last = order
                count += 1
                yield entry
            require(count == span, "leaf of wrong span")

    def find(self, path):
        for entry in self.entries():
            if first(entry, 1, b"") == path:
                link = first(entry, 14, b"")
                return self.find(link) if link else entry
        raise SystemExit("no such path: %r" % path)

    def content(self, entry):
        """The pieces of a file: bytes for data, a number for a hole."""
        done = 0
        for leaf, span in self.leaves(first(message(first(entry, 17, b"")), 1, b"")):
            leaf_begin = done
            for piece in self.runs(leaf):
                done += piece if isinstance(piece, int) else len(piece)
                yield piece
            require(done - leaf_begin == span, "run leaf of wrong span")
        require(done == first(entry, 8, 0), "content of wrong length")

    def runs(self, leaf, may_have_base=True):
        """The pieces of a leaf, in order."""
        reader, base, done = Reader(leaf), [], 0
        for piece in self.records(reader, base, may_have_base):
            if isinstance(piece, tuple):  # so many bytes of the base
                pieces, end = base[0], done + piece[0]
                while pieces and done < end:
                    at, kept = pieces[0]
                    size = kept if isinstance(kept, int) else len(kept)
                    if at + size <= done:
                        pieces.pop(0)
                        continue
                    step = min(end, at + size) - done
                    require(isinstance(kept, int) or step == size and at == done, "half a chunk")
                    yield step if isinstance(kept, int) else kept
                    done += step
                require(done == end, "base is too short")
            else:
                yield piece
                done += piece if isinstance(piece, int) else len(piece)

    def records(self, reader, base, may_have_base):
        last = None
        while not reader.empty():
            head = reader.varint()
            kind, count = head & 3, head >> 2
            if kind == 0:
                last = None
                yield reader.varint()
            elif kind == 1:
                pack, offset, length, place = (reader.varint() for _ in range(4))
                for i in range(count):
                    chunk_hash = reader.raw(16)
                    last = self.repository.chunk("data", self.packs[pack], offset, length,
                                                 place + i, (chunk_hash, reader.varint()))
                    yield last
            elif kind == 3 and count == 0:
                require(may_have_base and not base, "a base in the wrong place")
                at, pieces = 0, []
                for piece in self.runs(self.metadata_chunk(reader), may_have_base=False):
                    pieces.append((at, piece))
                    at += piece if isinstance(piece, int) else len(piece)
                base.append(pieces)
            elif kind == 3:
                require(bool(base), "no base")
                last = None
                yield (count,)
            else:
                require(last is not None, "nothing to repeat")
                for _ in range(count):
                    yield last


def claims(repository, name):
    """Claims on a name and their bases, in order of epochs."""
    folder = hashlib.sha256(repository.secret + hashlib.sha256(name).digest()).hexdigest()[:32]
    folder = os.path.join(repository.root, "claims", folder)
    for key in sorted(os.listdir(folder)):
        epoch, claim_id = key.split("-")[:2]
        with open(os.path.join(folder, key), "rb") as file:
            stored = file.read()
        content = stored[:-32]
        require(hashlib.sha256(content).digest() == stored[-32:], "claim is damaged")
        magic, version, flags, length = struct.unpack_from("<8sHHI", content)
        require(magic == b"SNAPCLAM" and version == 1 and length == len(content) - 16, "not a claim")
        repository.check_flags(flags)
        body = content[16:]
        if repository.cipher:
            body = repository.cipher.box(12, body, content[:16])
        fields = message(body)
        require(first(fields, 1, b"").hex() == claim_id and first(fields, 2, 0) == int(epoch)
                and first(fields, 4, b"") == name, "claim is another's")
        require(bool(first(fields, 3, 0)) == key.endswith("-base"), "claim is no base, or one")
        yield fields


def main(arguments):
    root, command, name = arguments[:3]
    if command == "claims":
        for claim in claims(Repository(root), os.fsencode(name)):
            told = [b"%d" % first(claim, 2, 0)]
            if first(claim, 3, 0):
                told += [snapshot.hex().encode() for snapshot in claim.get(9, [])]
            else:
                told += [first(claim, 6, b""), b"%d" % first(claim, 8, 0)]
            sys.stdout.buffer.write(b" ".join(told) + b"\n")
        return
    snapshot = Snapshot(Repository(root), name)
    out = sys.stdout.buffer
    if command == "list":
        for entry in snapshot.entries():
            out.write(b"%d %d %s\n" % (first(entry, 2, 0), first(entry, 8, 0),
                                       first(entry, 1, b"")))
    elif command == "extract":
        for piece in snapshot.content(snapshot.find(os.fsencode(arguments[3]))):
            out.write(bytes(piece))  # of a number: as many zeros
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
