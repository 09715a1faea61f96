"""The drawing page and the readers of pictures on a web server.

    GET  /         the page
    GET  /health   {"status": "ok", ...}
    POST /digit    a picture; its object as `inference.py --format json` prints it
    POST /number   a picture; its object as `read_number.py --format json` prints it

A picture is the body of the request, or a file of a form. What cannot be read is answered with
{"error": one line} and a status that says whose fault it is.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lenet5.runtime.errors import UserError, one_line, reason
from lenet5.runtime.worker_processes import cores

MOST_BYTES = 32 << 20  # of a request
MOST_SECONDS = 20  # until a request is here
GRACE = 5  # more, for an answer in place of a closed connection
MOST_CONNECTIONS = 64
PART = 1 << 16  # bytes that are read at a time
FORM = "multipart/form-data"
FILE_NAME = re.compile(rb"; *filename\*?=", re.IGNORECASE)  # in the heading of a form's field
MOST_FIELDS = 100
PICTURE_TYPES = ("image/", "application/octet-stream", FORM)
WANTED = "send a picture with its Content-Type, such as image/png, or as the file of a form"


class RefusedError(Exception):
    """A request that is answered with a status and one line."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """The page, and a reader for each path that takes pictures.

    `readers` make a function from the bytes of a picture to an object, when it is first wanted.
    Raises UserError if the address cannot be listened on.
    """

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(
        self, address: tuple[str, int], page: bytes, readers: dict[str, Callable[[], Callable]]
    ):
        self.page, self.makers = page, readers
        self.readers: dict[str, Callable[[bytes], dict]] = {}
        self.making = threading.Lock()
        self.at_work = threading.BoundedSemaphore(cores())
        self.open = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.deadlines: dict[socket.socket, float] = {}  # of connections whose request is awaited
        try:
            super().__init__(address, Handler)
        except OSError as error:
            host, port = address
            raise UserError(
                f"cannot listen on {host}, port {port}: {reason(error)}; give another --port or --host"
            ) from error

    def process_request(self, request, client_address) -> None:
        """Answer in a thread of its own, unless too many are being answered."""
        if not self.open.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self.open.release()
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.open.release()

    def service_actions(self) -> None:
        """End the connections whose request takes too long; called twice a second."""
        now = time.monotonic()
        for connection, ends in list(self.deadlines.items()):
            if now > ends:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """Show no error where a client went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def read(self, path: str, picture: bytes) -> dict:
        """The object of a picture that was sent to a path; as many at a time as there are cores."""
        with self.making:
            if path not in self.readers:
                self.readers[path] = self.makers[path]()
        with self.at_work:
            return self.readers[path](picture)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = MOST_SECONDS  # without a byte
    # An answer's head and body are two packets. With Nagle's algorithm the second waits until the
    # client acknowledges the first, 40 ms on Linux: 178 pictures a second in place of 1,000.
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.expect_request()
        try:
            super().handle_one_request()
        finally:
            self.server.deadlines.pop(self.connection, None)

    def expect_request(self) -> None:
        """From now on the request, or the rest of it, has its time."""
        self.server.deadlines[self.connection] = time.monotonic() + MOST_SECONDS + GRACE

    def parse_request(self) -> bool:
        self.expect_request()
        return super().parse_request()

    def do_GET(self) -> None:
        self.close_connection |= "Content-Length" in self.headers  # a body would be the next request
        path = self.path.partition("?")[0]
        if path == "/":
            self.answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif path == "/health":
            self.send_object(HTTPStatus.OK, {"status": "ok", "reads": sorted(self.server.makers)})
        elif path in self.server.makers:
            self.refuse(RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"POST a picture to {path}"))
        else:
            self.refuse(RefusedError(HTTPStatus.NOT_FOUND, "there are /, /health, /digit and /number"))

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        try:
            found = self.server.read(*self.picture())
        except RefusedError as refused:
            self.refuse(refused)
            self.drain()
            return
        except ConnectionError:
            raise  # the client has gone
        except Exception as error:  # whatever the libraries raise: the client is to get an answer
            self.refuse(RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, reason(error)[:120]))
            return
        if found["error"] is not None:
            self.send_object(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": one_line(found["error"])})
        else:
            self.send_object(HTTPStatus.OK, found)

    def picture(self) -> tuple[str, bytes]:
        """The path of a request and its picture. Raises RefusedError."""
        path = self.path.partition("?")[0]
        if path not in self.server.makers:
            raise RefusedError(HTTPStatus.NOT_FOUND, "pictures are read at /digit and at /number")
        length = self.length()
        kind = self.headers.get("Content-Type", PICTURE_TYPES[1]).lower()
        if not kind.startswith(PICTURE_TYPES):
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{one_line(kind)[:60]}: {WANTED}")
        body = self.body(length)
        self.server.deadlines.pop(self.connection, None)
        return path, self.file_in(body) if kind.startswith(FORM) else body

    def length(self) -> int:
        """The bytes of the body. Raises RefusedError."""
        text = self.headers.get("Content-Length")
        if text is None or "Transfer-Encoding" in self.headers:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "say how long it is, with Content-Length")
        if not text.isascii() or not text.isdigit():
            raise RefusedError(HTTPStatus.BAD_REQUEST, "its Content-Length is no number")
        text = text.lstrip("0") or "0"
        if int(text[:20]) > MOST_BYTES:
            most = f"{MOST_BYTES >> 20} MB"
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"it has more than {most}: reduce it"
            )
        return int(text)

    def body(self, length: int) -> bytes:
        """So many bytes of the request. Raises RefusedError if they take too long."""
        parts, ends = [], time.monotonic() + MOST_SECONDS
        while length > 0:
            if time.monotonic() > ends:
                raise RefusedError(
                    HTTPStatus.REQUEST_TIMEOUT, f"it took more than {MOST_SECONDS} seconds"
                )
            part = self.rfile.read1(min(PART, length))  # type: ignore[attr-defined]
            if not part:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "it ended before its Content-Length")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def file_in(self, body: bytes) -> bytes:
        """The first file in a form. Raises RefusedError if there is none."""
        boundary = self.headers.get_boundary("").encode("latin-1", "replace")
        for part in (b"\r\n" + body).split(b"\r\n--" + boundary, MOST_FIELDS):
            about, _, content = part.partition(b"\r\n\r\n")
            if FILE_NAME.search(about):
                return content
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the form has no file: {WANTED}")

    def refuse(self, refused: RefusedError) -> None:
        """Answer with an error and close the connection, on which the body may still be coming."""
        self.close_connection = True
        self.send_object(refused.status, {"error": str(refused)})

    def drain(self) -> None:
        """Read on for a while: a client that is still sending would not see the answer."""
        ends, left = time.monotonic() + GRACE, 2 * MOST_BYTES
        self.connection.settimeout(1)
        with contextlib.suppress(OSError):
            while left > 0 and time.monotonic() < ends:
                part = self.rfile.read1(PART)  # type: ignore[attr-defined]
                left -= len(part) if part else left

    def send_object(self, status: HTTPStatus, found: dict) -> None:
        self.answer(status, f"{json.dumps(found)}\n".encode(), "application/json")

    def answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")  # other weights, another page
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code, message=None, explain=None) -> None:
        """What the base class refuses, in one line as well."""
        self.close_connection = True
        status = HTTPStatus(code)
        self.send_object(status, {"error": one_line(message or status.phrase)[:120]})

    def log_message(self, format, *arguments) -> None:
        """Print nothing."""
