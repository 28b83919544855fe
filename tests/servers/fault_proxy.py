"""A proxy before an S3 server that does everything wrong that a network or a server can do wrong.

    with FaultProxy(upstream, seed, plan) as proxy:
        ... run programs against proxy.variables ...
    print(proxy.happened)

What happens to a request is drawn from the seed, what kind of request it is, and how many of its kind
came before; so a run is repeated by its seed, whatever the order in which connections are served.
Requests are passed on as they came, Host too, so that their signatures hold. Where a fault means
that the request itself changes (pages of lists made short, session tokens), it is signed anew.
"""

import asyncio
import collections
import datetime
import email.utils
import random
import re
import socket
import struct
import threading
import urllib.parse

import s3_request
from fault_plan import FAULTS, kind_of
from http_message import Message, read_answer, read_body, read_head, xml_error
from local_server import HOST

STALL_SECONDS_MAX = 60

class _Hangup(Exception):
    """End the connection to the client: with a reset, or as if all had been said."""

    def __init__(self, reset=True):
        super().__init__()
        self.reset = reset


class FaultProxy:

    def __init__(self, upstream, seed, plan):
        """`upstream`: variables of a server, with its credentials."""
        self.upstream = upstream
        self.seed = seed
        self.plan = plan
        self.happened = collections.Counter()
        self.log = []
        self._address = urllib.parse.urlsplit(upstream["AWS_ENDPOINT_URL_S3"])
        self._ordinals = collections.Counter()
        self._spoilt = set()
        self._pages = {}
        self._loop = asyncio.new_event_loop()
        self._tasks = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def variables(self):
        return {**self.upstream, "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{self.port}"}

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, HOST, 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        # What was to be done late is done now: nothing may reach the server after the run.
        late = [task for task in self._tasks if task.get_name() == "late"]
        for task in self._tasks:
            if task not in late:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, coroutine, name):
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, reader, writer):
        self._start(self._converse(reader, writer), "client")

    async def _converse(self, reader, writer):
        try:
            while (request := await read_head(reader)) is not None:
                if request.header("expect"):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self._handle(request, reader, writer)
                await writer.drain()
        except _Hangup as hangup:
            if hangup.reset:
                self._reset(writer)
        except (OSError, EOFError, asyncio.CancelledError):
            self._reset(writer)
        finally:
            writer.close()

    @staticmethod
    def _reset(writer):
        sock = writer.get_extra_info("socket")
        # The client may have been faster.
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _handle(self, request, reader, writer):
        kind, area = kind_of(request)
        ordinal = self._ordinals[kind, area]
        self._ordinals[kind, area] += 1
        draw = random.Random(f"{self.seed}/{kind}/{area}/{ordinal}")
        fault = None
        possible = [name for name in self.plan.faults if kind in FAULTS[name][0].split()]
        if possible and draw.random() < self.plan.probability:
            fault = draw.choice(possible)
        if fault == "cut-request":
            await reader.readexactly(int(request.header("content-length") or 0) // 2)
            self._note(fault, request)
            raise _Hangup()
        await read_body(reader, request)
        if self.plan.tokens is not None and not self.plan.tokens.accepts(
                request.header("x-amz-security-token")):
            self._note("token-expired", request)
            self._send(writer, request, xml_error(400, "Bad Request", "ExpiredToken",
                                                  "The provided token has expired."))
            return
        method = getattr(self, "_" + fault.replace("-", "_")) if fault else self._pass
        # A fault that finds nothing to spoil says so, and the request goes through.
        answer = await method(request, draw, writer)
        if fault and fault != "answer-bits-stay" and answer is not False:
            self._note(fault, request)
        if answer is False:
            answer = await self._pass(request, draw, writer)
        if answer is not None:
            self._send(writer, request, answer)

    def _note(self, fault, request):
        self.happened[fault] += 1
        self.log.append(f"{fault}: {request.method} {request.target[:160]}")

    def _send(self, writer, request, answer):
        writer.write(answer.head_bytes())
        if request.method != "HEAD":
            writer.write(answer.body)

    async def _ask(self, request):
        """The server's answer to a request."""
        return await self._send_on(self._signed_anew(request))

    async def _send_on(self, request):
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port,
                                                       limit=1 << 20)
        try:
            sent = Message(request.first_line, [*request.without("expect", "connection"),
                                                ("Connection", "close")])
            writer.write(sent.head_bytes() + request.body)
            answer = await read_answer(reader, request.method)
            answer.headers = answer.without("connection")
            return answer
        finally:
            writer.close()

    def _signed_anew(self, request):
        path, _, query = request.target.partition("?")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        shorten = self.plan.page_keys and words.get("list-type") == "2"
        if not shorten and self.plan.tokens is None:
            return request
        if shorten:
            words["max-keys"] = str(self.plan.page_keys)
        kept = {n.lower(): v for n, v in request.headers
                if n.lower().startswith("x-amz-") and n.lower() not in
                ("x-amz-security-token", "x-amz-date", "x-amz-content-sha256")}
        signed = s3_request.signed_headers(self.upstream, request.method, request.header("host"), path,
                                           words, request.body, kept)
        others = [(n, v) for n, v in request.headers
                  if n.lower() not in signed and n.lower() != "x-amz-security-token"]
        target = path + ("?" + s3_request.query_text(words) if words else "")
        return Message(f"{request.method} {target} HTTP/1.1", [*others, *signed.items()], request.body)

    async def _pass(self, request, _draw, _writer):
        answer = await self._ask(request)
        if kind_of(request)[0] == "list":
            self._pages[re.sub(r"&?continuation-token=[^&]*", "", request.target)] = answer
        elif kind_of(request)[0] == "get" and request.target in self._spoilt and answer.body:
            self._note("answer-bits-stay", request)
            answer.body = flipped(answer.body, random.Random(request.target + request.header("range")))
        return answer

    # One method a fault: an answer, None when nothing is to be answered, False when the fault does
    # not apply.

    async def _refused(self, request, _draw, _writer):
        self._note("refused", request)
        raise _Hangup()

    async def _answer_lost(self, request, _draw, _writer):
        await self._ask(request)
        self._note("answer-lost", request)
        raise _Hangup()

    async def _silence(self, request, _draw, _writer):
        self._note("silence", request)
        await asyncio.sleep(STALL_SECONDS_MAX)
        raise _Hangup()

    async def _answer_stalls(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        if len(answer.body) < 2:
            return answer
        self._note("answer-stalls", request)
        writer.write(answer.head_bytes() + answer.body[:len(answer.body) // 2])
        await asyncio.sleep(STALL_SECONDS_MAX)
        raise _Hangup()

    async def _answer_cut(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        self._note("answer-cut", request)
        writer.write(answer.head_bytes() + answer.body[:draw.randrange(len(answer.body) or 1)])
        await writer.drain()
        raise _Hangup(reset=False)

    async def _slow_down(self, _request, _draw, _writer):
        return xml_error(503, "Slow Down", "SlowDown", "Please reduce your request rate.")

    async def _error(self, _request, _draw, _writer):
        return xml_error(500, "Internal Server Error", "InternalError", "We had trouble. Try again.")

    async def _done_but_error(self, request, draw, writer):
        await self._pass(request, draw, writer)
        return await self._error(request, draw, writer)

    async def _done_but_unavailable(self, request, draw, writer):
        await self._pass(request, draw, writer)
        return Message("HTTP/1.1 503 Service Unavailable", [("Content-Length", "0")])

    async def _request_bit(self, request, draw, _writer):
        if not request.body:
            return False
        signed = self._signed_anew(request)
        return await self._send_on(Message(signed.first_line, signed.headers,
                                           flipped(signed.body, draw)))

    async def _answer_bit(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        if answer.status not in (200, 206) or not answer.body:
            return False
        answer.body = flipped(answer.body, draw)
        return answer

    async def _answer_bits_stay(self, request, draw, writer):
        self._spoilt.add(request.target)
        return await self._pass(request, draw, writer)

    async def _bad_digest(self, _request, _draw, _writer):
        return xml_error(400, "Bad Request", "BadDigest", "The digest is not that of the body.")

    async def _conflict(self, _request, _draw, _writer):
        return xml_error(409, "Conflict", "ConditionalRequestConflict", "Another one was faster.")

    async def _twice(self, request, draw, writer):
        await self._ask(request)
        return await self._pass(request, draw, writer)

    async def _late_again(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        self._start(self._later(request, draw.uniform(0.05, 0.5)), "late")
        return answer

    async def _overtaken(self, request, draw, writer):
        await asyncio.sleep(draw.uniform(0.02, 0.3))
        return await self._pass(request, draw, writer)

    async def _lost_then_late(self, request, draw, _writer):
        self._start(self._later(request, draw.uniform(0.05, 0.5)), "late")
        self._note("lost-then-late", request)
        raise _Hangup()

    async def _later(self, request, seconds):
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except asyncio.TimeoutError:
            pass
        await self._ask(request)

    async def _length_too_long(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        answer.replace("Content-Length", str(len(answer.body) + draw.randrange(1, 1000)))
        self._note("length-too-long", request)
        self._send(writer, request, answer)
        await writer.drain()
        raise _Hangup(reset=False)

    async def _length_too_short(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        if not answer.body:
            return False
        answer.replace("Content-Length", str(draw.randrange(len(answer.body))))
        self._note("length-too-short", request)
        self._send(writer, request, answer)
        await writer.drain()
        raise _Hangup(reset=False)

    async def _other_range(self, request, _draw, _writer):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.header("range"))
        if found is None or int(found[1]) == 0:
            return False
        # Neither header is signed.
        request.replace("Range", f"bytes={int(found[1]) - 1}-{int(found[2]) - 1}")
        return await self._ask(request)

    async def _whole_object(self, request, _draw, _writer):
        if not request.header("range"):
            return False
        request.headers = request.without("range")
        return await self._ask(request)

    async def _ok_but_error(self, request, draw, writer):
        answer = await self._error(request, draw, writer)
        answer.first_line = "HTTP/1.1 200 OK"
        return answer

    async def _other_region(self, _request, draw, _writer):
        region = draw.choice(("eu-west-1", "us-west-2", "ap-south-1"))
        return xml_error(301, "Moved Permanently", "PermanentRedirect", "Use another endpoint.",
                         [("x-amz-bucket-region", region)])

    async def _moved(self, request, _draw, _writer):
        return xml_error(307, "Temporary Redirect", "TemporaryRedirect", "Please re-send this request.",
                         [("Location", "http://" + request.header("host") + request.target)])

    async def _skewed(self, _request, draw, _writer):
        now = datetime.datetime.now(datetime.timezone.utc)
        wrong = now + datetime.timedelta(hours=draw.choice((-9, -1, 1, 9)))
        return xml_error(403, "Forbidden", "RequestTimeTooSkewed", "The clocks differ too much.",
                         [("Date", email.utils.format_datetime(wrong, usegmt=True))])

    async def _expired(self, _request, _draw, _writer):
        return xml_error(400, "Bad Request", "ExpiredToken", "The provided token has expired.")

    async def _page_repeated(self, request, _draw, _writer):
        if "continuation-token=" not in request.target:
            return False
        return self._pages.get(re.sub(r"&?continuation-token=[^&]*", "", request.target), False)

    async def _page_without_token(self, request, draw, writer):
        return self._edit(await self._pass(request, draw, writer),
                          rb"<NextContinuationToken>[^<]*</NextContinuationToken>", b"")

    async def _page_cut(self, request, draw, writer):
        answer = await self._pass(request, draw, writer)
        answer.body = answer.body[:draw.randrange(len(answer.body) // 2, len(answer.body))]
        answer.replace("Content-Length", str(len(answer.body)))
        return answer

    async def _page_with_strangers(self, request, draw, writer):
        strangers = b"".join(
            b"<Contents><Key>%s</Key><Size>3</Size>"
            b"<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>" % key
            for key in (b"..%2F..%2Fetc%2Fpasswd", b"UPPER%20case", b"%00", b"zz/other"))
        return self._edit(await self._pass(request, draw, writer), rb"</ListBucketResult>",
                          strangers + b"</ListBucketResult>")

    @staticmethod
    def _edit(answer, pattern, replacement):
        """`answer` with the first match replaced, or False without a match."""
        body, matches = re.subn(pattern, replacement, answer.body, count=1)
        if matches == 0:
            return False
        answer = Message(answer.first_line, list(answer.headers), body)
        answer.replace("Content-Length", str(len(body)))
        return answer


def flipped(body, draw):
    """`body` with one bit flipped."""
    spoilt = bytearray(body)
    spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
    return bytes(spoilt)
