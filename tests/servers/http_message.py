"""HTTP/1.1 messages on asyncio streams, as far as a proxy before an S3 server needs them (RFC 9112)."""

import dataclasses

HEAD_BYTES_MAX = 64 << 10
NO_BODY = (204, 304)


@dataclasses.dataclass
class Message:
    """A request or an answer, read whole."""

    first_line: str
    headers: list  # of (name, value) as they came
    body: bytes = b""

    def header(self, name):
        return next((v for n, v in self.headers if n.lower() == name), "")

    def without(self, *names):
        return [(n, v) for n, v in self.headers if n.lower() not in names]

    def replace(self, name, value):
        self.headers = [*self.without(name.lower()), (name, value)]

    def head_bytes(self):
        lines = [self.first_line, *(f"{n}: {v}" for n, v in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    # Of a request:
    @property
    def method(self):
        return self.first_line.split(" ")[0]

    @property
    def target(self):
        return self.first_line.split(" ")[1]

    # Of an answer:
    @property
    def status(self):
        return int(self.first_line.split(" ")[1])


async def read_head(reader):
    """A message without its body, or None when the peer has ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (EOFError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
    return Message(lines[0], headers)


async def read_body(reader, message):
    length = message.header("content-length")
    if message.header("transfer-encoding").lower() == "chunked":
        message.body = await read_chunks(reader)
    elif length:
        message.body = await reader.readexactly(int(length))


async def read_chunks(reader):
    body = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            return body
        body += chunk[:-2]


async def read_answer(reader, method):
    """The answer to a request, with a Content-Length that is right; OSError when it breaks off."""
    while True:
        answer = await read_head(reader)
        if answer is None:
            raise ConnectionError("the server ended the connection")
        if answer.status != 100:
            break
    if method == "HEAD" or answer.status in NO_BODY:
        return answer
    await read_body(reader, answer)
    answer.headers = answer.without("transfer-encoding")
    answer.replace("Content-Length", str(len(answer.body)))
    return answer


def xml_error(status, reason, code, message, headers=()):
    body = (f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
            f"<Message>{message}</Message><RequestId>faulty</RequestId></Error>").encode()
    return Message(f"HTTP/1.1 {status} {reason}",
                   [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), *headers],
                   body)
