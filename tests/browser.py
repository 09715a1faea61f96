"""A real browser with the drawing page in it, for its tests and benchmarks/page_frames.py."""

import base64
import contextlib
import importlib.util
import shutil
import time

from PIL import Image

# Strokes on the sheet of 280×280, as somebody might write the digits.
STROKES = {
    0: ["140,50 95,80 85,140 95,200 140,230 185,200 195,140 185,80 140,50"],
    1: ["140,50 138,230"],
    2: ["90,95 110,60 150,52 185,75 180,115 140,165 90,225 195,225"],
    3: ["95,65 140,50 180,75 170,115 135,135 180,155 185,200 145,230 92,212"],
    4: ["150,50 85,165 200,165", "165,110 160,235"],
    5: ["185,55 110,55 100,125 150,118 185,150 180,205 135,230 90,212"],
    6: ["165,48 115,100 95,165 110,215 150,228 180,195 165,155 120,160 98,190"],
    7: ["85,60 195,60 150,140 125,232"],
    8: ["175,80 140,52 105,80 120,120 165,155 180,200 140,230 100,205 115,160 160,122 177,82"],
    9: ["175,85 140,55 105,80 108,125 145,138 176,100 176,85 172,160 160,232"],
}

# What the page makes of pictures with whole numbers: each number's strip, row of answers and digits.
READ_NUMBERS = """pictures => pictures.map(({width, height, data}) => {
    const bytes = Uint8ClampedArray.from(atob(data), sign => sign.charCodeAt(0));
    return numbersIn({width, height, data: bytes}).map(strip => {
        const {shares, digits, confidence} = readStrip(loadedOnce(numberNetwork), strip);
        return {strip: [...strip.values], shares: shares.map(row => [...row]), digits, confidence};
    });
})"""

# The number on a strip of 32 rows, and its confidence.
READ_STRIP = """([width, values]) => {
    const strip = {width, height: 32, values: Uint8Array.from(values)};
    const {text, confidence} = readStrip(loadedOnce(numberNetwork), strip);
    return [text, confidence];
}"""

# What the page makes of pictures: 28×28 pixels, probabilities, evidence, and why it refuses.
READ_ALL = """pictures => pictures.map(({width, height, data}) => {
    const bytes = Uint8ClampedArray.from(atob(data), sign => sign.charCodeAt(0));
    const {digit} = lookAt({width, height, data: bytes});
    const answer = read(network, digit);
    return {digit: [...digit], ...answer, layers: null, reason: doubt(network, digit, answer)};
})"""


def find_chromium() -> str | None:
    """Where Chromium is, or None if it or Playwright, which drives it, is missing."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium():
    """Debian's Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, which a container often is, Chromium does without its sandbox.
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def strokes_of(number: str, left: int = 20, top: int = 0, size: float = 1.0) -> list[str]:
    """The strokes of a number's digits beside each other, each 150·size pixels after the last."""
    strokes = [(i, stroke) for i, digit in enumerate(number) for stroke in STROKES[int(digit)]]
    return [
        " ".join(
            f"{round(left + size * (x - 70 + 150 * i))},{round(top + size * y)}"
            for x, y in (map(int, point.split(",")) for point in stroke.split())
        )
        for i, stroke in strokes
    ]


def as_pixels(image: Image.Image) -> dict:
    """A picture as a canvas gives it: red, green, blue and opacity of each pixel."""
    data = base64.b64encode(image.convert("RGBA").tobytes()).decode()
    return {"width": image.width, "height": image.height, "data": data}


def draw(tab, strokes, steps: int = 4) -> None:
    """Draw polylines on the sheet with the mouse, which moves from point to point in `steps`."""
    box = tab.locator("#sheet").bounding_box()
    scale = box["height"] / 280
    for stroke in strokes:
        points = [map(int, point.split(",")) for point in stroke.split()]
        places = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]
        tab.mouse.move(*places[0])
        tab.mouse.down()
        for place in places[1:]:
            tab.mouse.move(*place, steps=steps)
        tab.mouse.up()


def touch(tab, points: list[tuple[int, int]]) -> None:
    """Draw a stroke through points of the sheet with a finger."""
    box = tab.locator("#sheet").bounding_box()
    scale = box["height"] / 280
    places = [{"x": box["x"] + x * scale, "y": box["y"] + y * scale} for x, y in points]
    session = tab.context.new_cdp_session(tab)
    for kind, place in [("touchStart", places[0]), *(("touchMove", place) for place in places)]:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def sheet_of(tab) -> Image.Image:
    """What the page reads of its sheet."""
    width, height, data = tab.evaluate("(p => [p.width, p.height, [...p.data]])(pixels())")
    return Image.frombytes("RGBA", (width, height), bytes(data))


def wait_for(tab, condition: str) -> None:
    """Wait until the page has done something (it forbids the eval of wait_for_function)."""
    until = time.monotonic() + 60
    while not tab.evaluate(condition):
        assert time.monotonic() < until, condition
        time.sleep(0.05)


def settled(tab) -> str:
    """The verdict once what was drawn has been read."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tab.inner_text("#verdict")


def hand_over(tab, way: str, picture: bytes) -> None:
    """Give the page a PNG file as by "drop" or "paste"."""
    tab.evaluate(
        """([way, data]) => {
            const bytes = Uint8Array.from(atob(data), sign => sign.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "picture.png", {type: "image/png"}));
            const event = way === "drop"
                ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true});
            document.body.dispatchEvent(event);
        }""",
        [way, base64.b64encode(picture).decode()],
    )
