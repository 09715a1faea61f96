"""The web server: pictures in, JSON out, and what it refuses."""

import http.client
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from draw import as_objects
from inference import ImageClassifier
from lenet5.export import server as web
from lenet5.runtime.errors import UserError
from read_number import NumberReader
from tests.conftest import DIGITS, PRETRAINED

SEVEN = (DIGITS / "digit_7.png").read_bytes()
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def server():
    readers = {
        "/digit": lambda: as_objects(ImageClassifier(PRETRAINED, device="cpu")),
        "/number": lambda: as_objects(NumberReader(device="cpu")),
        "/broken": broken,
        "/failing": lambda: failing,
    }
    with web.Server(("127.0.0.1", 0), b"the page", readers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def broken():
    raise UserError("there are no weights at x.pth")


def failing(picture: bytes):
    raise RuntimeError("libraries raise many kinds")


def ask(server, method: str, path: str, body=None, headers=PNG) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert len(content.splitlines()) <= 1
        return answer.status, json.loads(content) if content.startswith(b"{") else content
    finally:
        connection.close()


def test_a_digit_and_a_number(server):
    status, found = ask(server, "POST", "/digit", SEVEN)
    assert (status, found["prediction"], found["path"]) == (200, 7, None)
    expected = ImageClassifier(PRETRAINED, device="cpu").predict_batch([SEVEN])[0].as_object()
    assert found.keys() == expected.keys()
    assert found["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)
    status, found = ask(
        server, "POST", "/number?x=1", SEVEN, {"Content-Type": "application/octet-stream"}
    )
    assert (status, found["prediction"], len(found["numbers"])) == (200, "7", 1)


def test_the_file_of_a_form(server):
    form = (
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="7.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + SEVEN + b"\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert ask(server, "POST", "/digit", form, headers)[1]["prediction"] == 7
    status, found = ask(server, "POST", "/digit", b"--b--\r\n", headers)
    assert status == 422
    assert "no file" in found["error"]


def test_the_page_and_health(server):
    assert ask(server, "GET", "/", headers={}) == (200, b"the page")
    status, found = ask(server, "GET", "/health", headers={})
    assert (status, found["status"]) == (200, "ok")
    assert ask(server, "HEAD", "/health", headers={}) == (200, b"")


@pytest.mark.parametrize(
    ("status", "words", "method", "path", "body", "headers"),
    [
        (404, "/digit and /number", "GET", "/pretrained/lenet5.pth", None, {}),
        (404, "/digit", "POST", "/", SEVEN, PNG),
        (405, "POST", "GET", "/digit", None, {}),
        (501, "Unsupported method", "DELETE", "/digit", None, {}),
        (411, "Content-Length", "POST", "/digit", iter([SEVEN]), PNG),
        (400, "no number", "POST", "/digit", None, PNG | {"Content-Length": "-5"}),
        (413, "32 MB", "POST", "/digit", bytes(web.MOST_BYTES + 1), PNG),
        (413, "32 MB", "POST", "/digit", None, PNG | {"Content-Length": "9" * 30}),
        (415, "text/plain", "POST", "/digit", SEVEN, {"Content-Type": "text/plain"}),
        (415, "json", "POST", "/number", b"{}", {"Content-Type": "application/json"}),
        (422, "not a picture", "POST", "/digit", b"seven", PNG),
        (422, "no bytes", "POST", "/number", b"", PNG),
        (422, "rsvg-convert", "POST", "/digit", b"<svg/>", {"Content-Type": "image/svg+xml"}),
        (422, "truncated", "POST", "/digit", SEVEN[:200], PNG),
        (413, "32 MB", "POST", "/digit", None, PNG | {"Content-Length": "0" * 20 + "50000000"}),
        (411, "Content-Length", "POST", "/digit", SEVEN, PNG | {"Transfer-Encoding": "chunked"}),
        (500, "no weights", "POST", "/broken", SEVEN, PNG),
        (500, "many kinds", "POST", "/failing", SEVEN, PNG),
    ],
)
def test_what_is_refused_says_why_in_one_line(server, status, words, method, path, body, headers):
    found, answer = ask(server, method, path, body, headers)
    assert found == status
    assert words in answer["error"]
    assert len(answer["error"]) <= 160


def test_a_connection_may_ask_again(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    for _ in range(3):
        connection.request("POST", "/digit", SEVEN, PNG)
        assert json.loads(connection.getresponse().read())["prediction"] == 7
    connection.close()


def test_eight_clients_while_others_send_a_byte_at_a_time(server, monkeypatch):
    """Those who are too slow are told so, and end."""
    monkeypatch.setattr(web, "MOST_SECONDS", 2)
    monkeypatch.setattr(web, "GRACE", 1)
    slow = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(3)]
    slow[0].sendall(b"POST /digit HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n")
    slow[1].sendall(b"POST /dig")
    with ThreadPoolExecutor(8) as executor:
        started = time.monotonic()
        found = list(executor.map(lambda _: ask(server, "POST", "/digit", SEVEN), range(40)))
        assert {(status, answer["prediction"]) for status, answer in found} == {(200, 7)}
    while time.monotonic() < started + 2.5:
        slow[0].sendall(b"x")
        time.sleep(0.2)
    assert b" 408 " in slow[0].recv(1000)
    for connection in slow[1:]:
        connection.settimeout(10)
        assert connection.recv(1000) == b""
        connection.close()
    assert ask(server, "GET", "/health", headers={})[0] == 200


def test_more_connections_than_there_is_room_for(monkeypatch):
    """They are closed; when the others end, there is room again."""
    monkeypatch.setattr(web, "MOST_CONNECTIONS", 2)
    with web.Server(("127.0.0.1", 0), b"the page", {}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        waiting = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(2)]
        time.sleep(0.3)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(server, "GET", "/", headers={})
        for connection in waiting:
            connection.close()
        time.sleep(0.3)
        assert ask(server, "GET", "/", headers={}) == (200, b"the page")
        server.shutdown()


def test_an_address_that_cannot_be_listened_on():
    with pytest.raises(UserError, match="give another --port or --host"):
        web.Server(("203.0.113.1", 0), b"", {})


def test_a_large_photograph_is_read(server):
    stream = io.BytesIO()
    Image.open(io.BytesIO(SEVEN)).convert("RGB").resize((3000, 3000)).save(stream, "JPEG")
    assert (
        ask(server, "POST", "/digit", stream.getvalue(), {"Content-Type": "image/jpeg"})[1]["prediction"]
        == 7
    )
