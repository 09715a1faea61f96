"""What general readers of text read in pictures, for real_numbers.py.

    ls FOLDER/* | python benchmarks/contestants/ocr.py

Needs benchmarks/requirements-ocr.txt, whose wheel has RapidOCR's models, and Tesseract 5. Prints an
object: by reader, the text in each picture. Each reads as somebody would who wants a number of it:
RapidOCR with its defaults, but once more without looking for lines where it found none; Tesseract as
digits in one line, or in several where the picture is no strip.
"""

import json
import subprocess
import sys

from PIL import Image
from rapidocr_onnxruntime import RapidOCR

STRIP = 1.5  # times as wide as high


def main() -> int:
    paths = sys.stdin.read().splitlines()
    reader = RapidOCR()

    def rapid_ocr(path: str) -> str:
        found, _ = reader(path)
        if not found:
            found, _ = reader(path, use_det=False, use_cls=False)
            return found[0][0] if found else ""
        return " ".join(text for _, text, _ in found)

    def tesseract(path: str) -> str:
        with Image.open(path) as image:
            layout = "7" if image.width > STRIP * image.height else "6"
        flags = ["--psm", layout, "-c", "tessedit_char_whitelist=0123456789"]
        command = ["tesseract", path, "stdout", *flags]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    readers = {"RapidOCR": rapid_ocr, "Tesseract": tesseract}
    print(json.dumps({name: [read(path) for path in paths] for name, read in readers.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
