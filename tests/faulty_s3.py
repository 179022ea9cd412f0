"""A proxy before an S3 server that fails requests as networks and busy servers do, and counts what it did.

Bounded: it listens on this machine only, waits `TIMEOUT_S` for any peer, and takes bodies up to `LARGEST` bytes.
"""

import random
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 20.0
LARGEST: Final = 1 << 27

REFUSALS: Final = {
    "internal_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "access_denied": (403, "AccessDenied", "Access Denied"),
}
"""Answers in place of the server's: status, code and message."""

GATEWAY: Final = "bad_gateway"
"""Answer that is no S3 answer, as of a load balancer."""

CUTS: Final = ("lost_request", "reset_request", "lost_reply", "cut_reply")
"""Connections that end: before the server has the request, by a close or a reset; after it has, with none or half of
the reply sent."""

TRANSIENT_ERRNOS: Final = ("internal_error", "slow_down", GATEWAY, *CUTS)
"""Faults that are gone when the request is sent again."""

Choose = Callable[[str, str], str | None]
"""Request's method and path with query → fault, or None to pass it on."""


def at_random(seed: int, *, share: float = 0.2) -> Choose:
    """Fail a share of all requests by any fault that is transient."""
    generator = random.Random(seed)
    return lambda _method, _path: generator.choice(TRANSIENT_ERRNOS) if generator.random() < share else None


def always(fault: str, *, containing: str = "") -> Choose:
    """Fail every request whose path contains a text."""
    return lambda _method, path: fault if containing in path else None


def once(fault: str, *, method: str, containing: str) -> Choose:
    """Fail the first request of that method whose path contains a text."""
    left = [fault]
    return lambda verb, path: left.pop() if left and verb == method and containing in path else None


@dataclass
class Traffic:
    """What went through a proxy; `choose` may be replaced at any time.

    `did` counts faults, and `passed` requests that were answered as they should be; `requests` lists all of them, and
    `problems` what went wrong in the proxy itself.
    """

    choose: Choose
    did: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, method: str, path: str) -> str | None:
        """Choose what happens to a request, and count it."""
        with self.lock:
            fault = self.choose(method, path)
            self.did[fault or "passed"] += 1
            self.requests.append(f"{method} {path}")
            return fault

    @property
    def faults(self) -> int:
        """Number of failed requests."""
        return sum(self.did.values()) - self.did["passed"]


@contextmanager
def faulty_s3(endpoint: str, choose: Choose) -> Iterator[tuple[str, Traffic]]:
    """Run a proxy before the server at `endpoint`; yields its own endpoint and what goes through it."""
    traffic = Traffic(choose)
    with _Proxy(endpoint, traffic) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", traffic
        finally:
            server.shutdown()
            thread.join()
    assert not traffic.problems


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, endpoint: str, traffic: Traffic) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None
        assert parts.port is not None
        self.upstream = (parts.hostname, parts.port)
        self.traffic = traffic
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - of socketserver
        """Keep what went wrong in the proxy itself; clients may go away."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            self.traffic.problems.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    server: _Proxy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
        """Say nothing: the traffic is counted."""

    def do_GET(self) -> None:
        """Answer a request as the server does, or fail it."""
        fault = self.server.traffic.next_fault(self.command, self.path)
        body = self._body()
        if fault in REFUSALS:
            self._refuse(*REFUSALS[fault])
        elif fault == GATEWAY:
            self._answer(502, {"content-type": "text/html"}, b"<html><body>502 Bad Gateway</body></html>")
        elif fault == "lost_request":
            self.close_connection = True
        elif fault == "reset_request":
            self._reset()
        else:
            self._forward(body, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the names of http.server

    def _body(self) -> bytes:
        size = int(self.headers.get("Content-Length", 0))
        assert size <= LARGEST, f"body of {size} bytes"
        assert "Transfer-Encoding" not in self.headers, "chunked body"
        return self.rfile.read(size)

    def _forward(self, body: bytes, fault: str | None) -> None:
        connection = HTTPConnection(*self.server.upstream, timeout=TIMEOUT_S)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            reply = connection.getresponse()
            data = reply.read()
        finally:
            connection.close()
        if fault is None:
            self._answer(reply.status, _end_to_end(reply), data)
            return
        if fault == "cut_reply":
            self._answer(reply.status, _end_to_end(reply), data, sent=len(data) // 2)
        self.close_connection = True

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self._answer(status, {"content-type": "application/xml"}, text.encode())

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, sent: int | None = None) -> None:
        """Send an answer; where `sent` is fewer bytes than `data` has, the announced rest never comes."""
        self.send_response_only(status, HTTPStatus(status).phrase)
        for name, value in ({"content-length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])

    def _reset(self) -> None:
        """End the connection so that the client sees a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _end_to_end(reply: HTTPResponse) -> dict[str, str]:
    """Return the headers that are not of the connection; the length is the body's, except in answers to HEAD."""
    hop = {"connection", "keep-alive", "transfer-encoding"}
    headers = {name.lower(): value for name, value in reply.getheaders()}
    return {name: value for name, value in headers.items() if name not in hop}
