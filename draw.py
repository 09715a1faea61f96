"""Draw a digit or a whole number in the browser and watch the network read it.

    $ python draw.py
    the page is at http://127.0.0.1:41877/ (Ctrl-C ends it)

The page is that of `python export.py --html FILE`. The network runs in the page, and nothing that is
drawn leaves it. Other programs get readings from the same server:

    $ curl --data-binary @digit.png -H "Content-Type: image/png" http://127.0.0.1:41877/digit

answers as `inference.py --format json` does, /number as `read_number.py` does, and /health says whether
the server is there. It listens on the loopback address unless `--host` names another.
"""

import os
import sys
import threading

from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.signals import quiet_imports

LOOPBACK = "127.0.0.1"


def has_screen() -> bool:
    """Whether a browser would have somewhere to open its window."""
    is_unix = sys.platform.startswith(("linux", "freebsd"))
    return not is_unix or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def as_objects(reader):
    """A function from a picture to the object that `--format json` prints of it."""
    return lambda picture: reader.predict_batch([picture])[0].as_object()


@command_line
def main(argv=None) -> int:
    with quiet_imports():
        import webbrowser

        import torch

        from lenet5.export import html_page
        from lenet5.export.server import Server
        from lenet5.reading.classifier import ImageClassifier, default_weights
        from lenet5.whole_numbers.number_reader import NumberReader
    parser = ArgumentParser(prog="draw.py", description="Open the drawing page from a local server.")
    weights = "(as inference.py: lenet5_model.pth, else pretrained/)"
    parser.add_argument("--weights", metavar="FILE", help=weights)
    beside = f"other networks on the page {html_page.BESIDE}"
    parser.add_argument("--beside", nargs="+", metavar="WEIGHTS", help=beside)
    parser.add_argument("--host", default=LOOPBACK, help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=number(int, 0, 65535), default=0, help="(any free one)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    arguments = parser.parse_args(argv)
    weights = arguments.weights or default_weights()
    page = html_page.html(html_page.networks(weights, arguments.beside))
    torch.set_num_threads(1)  # of each reading, as there may be one a core
    readers = {
        "/digit": lambda: as_objects(ImageClassifier(weights, device="cpu")),
        "/number": lambda: as_objects(NumberReader(device="cpu")),
    }
    with Server((arguments.host, arguments.port), page, readers) as server:
        address = f"http://{arguments.host}:{server.server_port}/"
        print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
        if not arguments.no_browser and has_screen():
            # Some browsers are waited for until their window is closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
