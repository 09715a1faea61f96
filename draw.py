"""Draw a digit or a whole number in the browser and watch the network read it.

    $ python draw.py
    the page is at http://127.0.0.1:41877/ (Ctrl-C ends it)

The page is that of `python export.py --html FILE`, served to this machine alone:
the server listens on the loopback address and knows one file. The network runs
in the page, and nothing that is drawn leaves it.
"""

import os
import sys
import threading

from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError, reason
from lenet5.runtime.signals import quiet_imports

LOOPBACK = "127.0.0.1"


def server_of(document: bytes, port: int):
    """A ThreadingHTTPServer on the loopback address that answers / with the page; port 0: any.

    Raises UserError if the port is taken.
    """
    with quiet_imports():
        from http import HTTPStatus
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """Show no error where a browser went away."""
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.partition("?")[0] != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(document)))
            self.send_header("Cache-Control", "no-store")  # other weights, another page
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(document)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format, *arguments):
            """Print nothing."""

    try:
        return Server((LOOPBACK, port), Page)
    except OSError as error:
        raise UserError(f"cannot listen on port {port}: {reason(error)}; give another --port") from error


def has_screen() -> bool:
    """Whether a browser would have somewhere to open its window."""
    is_unix = sys.platform.startswith(("linux", "freebsd"))
    return not is_unix or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@command_line
def main(argv=None) -> int:
    with quiet_imports():
        import webbrowser

        from lenet5.export import html_page
        from lenet5.reading.classifier import default_weights
    parser = ArgumentParser(prog="draw.py", description="Open the drawing page from a local server.")
    weights = "(as inference.py: lenet5_model.pth, else pretrained/)"
    parser.add_argument("--weights", metavar="FILE", help=weights)
    beside = f"other networks on the page {html_page.BESIDE}"
    parser.add_argument("--beside", nargs="+", metavar="WEIGHTS", help=beside)
    parser.add_argument("--port", type=number(int, 0, 65535), default=0, help="(any free one)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    arguments = parser.parse_args(argv)
    described = html_page.networks(arguments.weights or default_weights(), arguments.beside)
    with server_of(html_page.html(described), arguments.port) as server:
        address = f"http://{LOOPBACK}:{server.server_port}/"
        print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
        if not arguments.no_browser and has_screen():
            # Some browsers are waited for until their window is closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
