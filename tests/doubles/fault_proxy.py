"""An HTTP proxy that stands before a real S3 server and misbehaves as it is told."""

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_BLOCK = 16 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    query: str
    range: str
    at: float

    def is_get(self, key: str) -> bool:
        """Whether it asks for the bytes of an object whose key ends so."""
        return self.method == "GET" and self.path.endswith(key)


@dataclass(frozen=True)
class Fault:
    """How one answer goes wrong; the defaults are what a healthy server does.

    Attributes:
        answer: (status, headers, body) instead of the server's.
        before: Called before the request is passed on.
        first_byte_seconds: How long the answer's head is held back.
        headers: Override those of the answer.
        after_bytes: Of the body, before `then` happens.
        then: `stall` says nothing more, `truncate` closes politely, `reset` rudely, `drip` sends a byte now and then,
            `damage` changes the next byte; a function is called, and unless it raises ConnectionError all goes on.
    """

    answer: tuple[int, Mapping[str, str], bytes] | None = None
    before: Callable[[], object] = lambda: None
    first_byte_seconds: float = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    after_bytes: int = 0
    then: str | Callable[[], object] = ""


@dataclass
class _Rule:
    fault: Fault
    matches: Callable[[Request], bool]
    left: int


class FaultProxy:
    """Passes requests on, except where a rule says otherwise; keeps a list of what it was asked."""

    def __init__(self, url: str, upstream: str) -> None:
        self.url, self._upstream = url, urlsplit(upstream).netloc
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """`host:port`."""
        return urlsplit(self.url).netloc

    def fail(self, fault: Fault, when: Callable[[Request], bool] = lambda request: True, times: int = 1) -> None:
        """Let the next `times` requests that match go wrong in this way."""
        with self._lock:
            self._rules.append(_Rule(fault, when, times))

    def forgive(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._rules.clear()

    def gets(self, key: str) -> list[Request]:
        """The requests for the bytes of that object."""
        return [request for request in list(self.requests) if request.is_get(key)]

    def fault_of(self, request: Request) -> Fault:
        """How the answer to this request goes wrong."""
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.left and rule.matches(request):
                    rule.left -= 1
                    return rule.fault
        return Fault()

    def open_upstream(self) -> http.client.HTTPConnection:
        """A connection to the real server."""
        return http.client.HTTPConnection(self._upstream, timeout=60)


@contextmanager
def fault_proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[FaultProxy]:
    """A proxy before the server at that URL, on a free port."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    proxy = FaultProxy(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", upstream)
    Handler.proxy = proxy
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True  # a client that went away is none of our business

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = urlsplit(self.path)
        request = Request(
            self.command, unquote(parts.path), parts.query, self.headers.get("Range", ""), time.monotonic()
        )
        fault = self.proxy.fault_of(request)
        fault.before()
        if fault.answer:
            self._send_head(fault.answer[0], {**fault.answer[1], "Content-Length": str(len(fault.answer[2]))})
            if self.command != "HEAD":
                self.wfile.write(fault.answer[2])
            return
        upstream = self.proxy.open_upstream()
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path, body, headers)
            self._relay(upstream.getresponse(), fault)
        finally:
            upstream.close()

    do_GET = _pass_on  # noqa: N815 - http.server finds the methods by these names
    do_HEAD = _pass_on  # noqa: N815 - the same
    do_PUT = _pass_on  # noqa: N815 - the same
    do_POST = _pass_on  # noqa: N815 - the same
    do_DELETE = _pass_on  # noqa: N815 - the same

    def _relay(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        self.proxy.closing.wait(fault.first_byte_seconds)
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        headers = {name: value for name, value in headers.items() if name not in fault.headers} | dict(fault.headers)
        if self.command == "HEAD" or answer.status in (204, 304):
            self._send_head(answer.status, headers)
            return
        if not any(name.lower() == "content-length" for name in headers):
            body = answer.read()
            self._send_head(answer.status, {**headers, "Content-Length": str(len(body))})
            self.wfile.write(body)
            return
        self._send_head(answer.status, headers)
        if not fault.then:
            self._send(answer, None)
            return
        self._send(answer, fault.after_bytes)
        self._misbehave(answer, fault)

    def _misbehave(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        if callable(fault.then):
            fault.then()
            self._send(answer, None)
            return
        match fault.then:
            case "stall":
                self.proxy.closing.wait()
            case "drip":
                while (byte := answer.read(1)) and not self.proxy.closing.wait(0.05):
                    self.wfile.write(byte)
            case "damage":
                byte = answer.read(1)
                self.wfile.write(bytes([byte[0] ^ 0xFF]))
                self._send(answer, None)
                return
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "truncate":
                self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _send(self, answer: http.client.HTTPResponse, size: int | None) -> None:
        left = size
        while left is None or left > 0:
            data = answer.read(_BLOCK if left is None else min(_BLOCK, left))
            if not data:
                return
            self.wfile.write(data)
            left = None if left is None else left - len(data)

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def busy(retry_after: int | None = None) -> Fault:
    """The answer of an S3 server that has too much to do."""
    body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    return Fault(answer=(503, {} if retry_after is None else {"Retry-After": str(retry_after)}, body))


def refusal(status: int, code: str, message: str = "no") -> Fault:
    """The answer of an S3 server that does not want to."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Fault(answer=(status, {"Content-Type": "application/xml"}, body))
