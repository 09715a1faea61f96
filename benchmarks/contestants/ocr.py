"""What general readers of text read in pictures, for real_numbers.py.

    python benchmarks/contestants/ocr.py PICTURE ...

Needs benchmarks/requirements-ocr.txt, whose wheel has RapidOCR's models, and Tesseract 5. Prints an
object: by reader, the text in each picture. Each reads as somebody would who wants a number of it:
RapidOCR with its defaults, but once more without looking for lines where it found none; Tesseract as
one line of digits.
"""

import json
import subprocess
import sys

from rapidocr_onnxruntime import RapidOCR


def main(argv=None) -> int:
    paths = argv or sys.argv[1:]
    reader = RapidOCR()

    def rapid_ocr(path: str) -> str:
        found, _ = reader(path)
        if not found:
            found, _ = reader(path, use_det=False, use_cls=False)
            return found[0][0] if found else ""
        return " ".join(text for _, text, _ in found)

    def tesseract(path: str) -> str:
        flags = ["--psm", "7", "-c", "tessedit_char_whitelist=0123456789"]
        command = ["tesseract", path, "stdout", *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    readers = {"RapidOCR": rapid_ocr, "Tesseract": tesseract}
    print(json.dumps({name: [read(path) for path in paths] for name, read in readers.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
