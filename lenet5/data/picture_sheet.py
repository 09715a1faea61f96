"""A sheet of made-up pictures, each above its mask."""

import io
from pathlib import Path

import torch
from PIL import Image

from lenet5.runtime.atomic_files import write_file


def save_sheet(path: str, pictures: torch.Tensor, masks: torch.Tensor, columns: int) -> None:
    """Write N×3×H×W pictures and N×H×W masks, both from 0 to 1, in whole rows of so many columns."""
    cells = torch.cat([pictures, masks[:, None].expand(-1, 3, -1, -1)], dim=2)
    rows, (height, width) = len(cells) // columns, cells.shape[2:]
    sheet = cells[: rows * columns].reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    pixels = (sheet.reshape(rows * height, columns * width, 3) * 255).byte().numpy()
    buffer = io.BytesIO()
    image_format = Image.registered_extensions().get(Path(path).suffix.lower(), "PNG")
    Image.fromarray(pixels).save(buffer, image_format, quality=80)
    write_file(path, buffer.getvalue())
