"""Seeded damage to files, for fuzz.py: to their bytes, the contents of containers, their values.

damaged          bits, header fields, pieces of any file
damaged_inside   the same within a PNG's chunks, a zip's members or a gzip stream, with right checksums
damaged_value    odd values in a nested value's numbers, names and lists
damaged_json, damaged_csv, damaged_onnx, damaged_pth   the same in a file
"""

import gzip
import io
import json
import zipfile
import zlib
from collections import OrderedDict

import numpy as np

HEADER = 160  # bytes at the beginning, in which most formats have their sizes
# Limits with which header fields are compared, or at which they overflow.
NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 1000, 16_383, 32_767, 32_768, 65_535, 65_536, 10_000_000)
NUMBERS += (2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, -1)
DEEP = "DEEP"  # becomes thousands of nested lists, which no writer of JSON writes
ODD = (None, True, False, 0, -1, 1, 10_000, 2**31, 2**63, 10**400, 0.5, -0.0, 1e-320, 1e308)
ODD += (float("nan"), float("inf"), "", "x", "1", "\0", "\n", "\ud800", "../../x", "--help", "9" * 5000)
ODD += ("y" * 100_000, DEEP, [], {}, [[]], [1, "a", None], {"a": {"b": [1]}}, [0.5] * 1000)
ODD_TEXTS = ("", "0", "-1", "1e999", "NaN", "null", "[]", '["a"]', "[" * 100_000, "9" * 5000)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """The random numbers of a case, independent of other cases."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), number])


def flip_bits(data: bytearray, other: bytes, rng) -> None:
    for _ in range(1 + int(rng.integers(8))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def set_number(data: bytearray, other: bytes, rng) -> None:
    """Write one of NUMBERS over a field, most often in the header."""
    size = int(rng.choice([1, 2, 4, 8]))
    last = len(data) if rng.random() < 0.2 else min(len(data), HEADER)
    start = int(rng.integers(last))
    number = NUMBERS[rng.integers(len(NUMBERS))] % 256**size
    data[start : start + size] = number.to_bytes(size, "big" if rng.random() < 0.5 else "little")


def splice(data: bytearray, other: bytes, rng) -> None:
    """The beginning of a file, alone or with the end of another of its kind."""
    end = other[int(rng.integers(len(other))) :] if rng.random() < 0.5 else b""
    data[int(rng.integers(len(data))) :] = end


def change_piece(data: bytearray, other: bytes, rng) -> None:
    """Remove, repeat or overwrite up to 64 bytes."""
    start = int(rng.integers(len(data)))
    piece = bytes(data[start : start + 1 + int(rng.integers(64))])
    length = len(piece)
    changed = [b"", piece * 2, piece * 100, rng.bytes(length), bytes(length), b"\xff" * length]
    data[start : start + length] = changed[rng.integers(len(changed))]


def damaged(data: bytes, other: bytes, rng) -> bytes:
    """The bytes with one to four damages; `other` is another file of the kind."""
    data = bytearray(data)
    for _ in range(1 + int(rng.integers(4))):
        if data:
            # Numbers in the header do most harm, and a splice leaves little for further damage.
            kinds = (flip_bits, set_number, splice, change_piece)
            kinds[rng.choice(4, p=(0.2, 0.35, 0.15, 0.3))](data, other, rng)
    return bytes(data)


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents of a PNG's chunks."""
    found, start = [], len(PNG_SIGNATURE)
    while start < len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        found.append((png[start + 4 : start + 8], png[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    return PNG_SIGNATURE + b"".join(
        len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
        for name, content in parts
    )


def members(archive: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def zip_of(parts: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in dict(parts).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def damaged_parts(parts: list[tuple], others: list[tuple], rng) -> list[tuple]:
    """A part doubled, removed, moved, taken from another file, or with damaged content."""
    parts = list(parts)
    at = int(rng.integers(len(parts)))
    name, content = parts[at]
    how = rng.choice(["double", "remove", "move", "take", "damage"], p=[0.1, 0.1, 0.1, 0.1, 0.6])
    if how == "double":
        parts.insert(int(rng.integers(len(parts))), parts[at])
    elif how == "remove":
        del parts[at]
    elif how == "move":
        parts.insert(int(rng.integers(len(parts))), parts.pop(at))
    elif how == "take":
        parts[at] = others[rng.integers(len(others))]
    else:
        parts[at] = (name, damaged(content, content, rng))
    return parts


def damaged_inside(data: bytes, other: bytes, rng) -> bytes:
    """A whole container with damaged content; other files are damaged as they are."""
    if data.startswith(PNG_SIGNATURE) and other.startswith(PNG_SIGNATURE):
        return png_of(damaged_parts(chunks(data), chunks(other), rng))
    if data.startswith(b"PK") and other.startswith(b"PK"):
        return zip_of(damaged_parts(members(data), members(other), rng))
    if data.startswith(b"\x1f\x8b"):
        content = gzip.decompress(data)
        return gzip.compress(damaged(content, content, rng), 1)
    return damaged(data, other, rng)


def damaged_value(value, rng, odd=ODD):
    """A copy of a nested value with an odd one, or none, in a random place."""
    inner = isinstance(value, dict | list) and len(value) > 0
    if not inner or rng.random() < 0.1:
        return odd[rng.integers(len(odd))]
    copy = value.copy()
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[rng.integers(len(keys))]
    if rng.random() < 0.15:
        del copy[key]
    elif rng.random() < 0.1:
        copy[key] = value[keys[rng.integers(len(keys))]]
    else:
        copy[key] = damaged_value(value[key], rng, odd)
    return copy


def damaged_json(data: bytes, other: bytes, rng) -> bytes:
    if rng.random() < 0.3:
        return damaged(data, other, rng)
    value = json.loads(data)
    for _ in range(1 + int(rng.integers(3))):
        value = damaged_value(value, rng)
    depth = int(rng.choice([50, 400, 900, 100_000]))
    return json.dumps(value).replace(f'"{DEEP}"', "[" * depth + "]" * depth).encode()


def damaged_csv(data: bytes, other: bytes, rng) -> bytes:
    if rng.random() < 0.3:
        return damaged(data, other, rng)
    rows = [line.split(",") for line in data.decode().split("\n")]
    for _ in range(1 + int(rng.integers(3))):
        row = int(rng.integers(len(rows)))
        changed = damaged_value(rows[row], rng)
        rows[row] = changed if isinstance(changed, list) else [changed]
    lines = (",".join(map(str, row)) for row in rows)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def damaged_onnx(data: bytes, other: bytes, rng) -> bytes:
    """A file of export.py: its bytes, or one to three entries of its metadata."""
    import onnx

    if rng.random() < 0.5:
        return damaged(data, other, rng)
    model = onnx.load_from_string(data)
    for _ in range(1 + int(rng.integers(3))):
        entries = model.metadata_props
        if entries:
            place = int(rng.integers(len(entries)))
            if rng.random() < 0.2:
                entries.pop(place)
            else:
                entries[place].value = ODD_TEXTS[rng.integers(len(ODD_TEXTS))]
    return model.SerializeToString()


def damaged_pth(data: bytes, other: bytes, rng) -> bytes:
    """A file of torch.save: its bytes, its members, or the values, tensors and metadata in it."""
    import torch

    how = rng.random()
    if how < 0.25:
        return damaged(data, other, rng)
    if how < 0.4:
        return damaged_inside(data, other, rng)
    value = torch.load(io.BytesIO(data), weights_only=True)
    metadata = getattr(value, "_metadata", None)
    for _ in range(1 + int(rng.integers(2))):
        if metadata is not None and rng.random() < 0.5:
            metadata = {**metadata, "": damaged_value(metadata[""], rng, odd_for_pth(rng))}
        else:
            value = damaged_value(value, rng, odd_for_pth(rng))
    if metadata is not None and isinstance(value, OrderedDict):
        value._metadata = metadata
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def odd_for_pth(rng) -> tuple:
    """The odd values, and tensors of odd kinds."""
    import torch

    kinds = (torch.float64, torch.float16, torch.float8_e4m3fn, torch.int64, torch.uint16, torch.bool)
    shapes = ((), (0,), (1,), (10, 84), (6, 1, 5, 5), (2, 3))
    kind, shape = kinds[rng.integers(len(kinds))], shapes[rng.integers(len(shapes))]
    tensors = (
        torch.zeros(shape, dtype=kind),
        torch.full(shape, float("nan")),
        torch.full(shape, 1e300, dtype=torch.float64),
        torch.zeros(shape, device="meta"),
        torch.zeros(1).expand(10**9),  # a gigabyte in four bytes
        torch.zeros(2, 2).to_sparse(),
        torch.nn.Parameter(torch.zeros(shape)),
    )
    return ODD + tensors * 2
