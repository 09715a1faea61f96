"""A sheet of made-up pictures, each above its mask."""

import torch
from PIL import Image

from lenet5.data.picture_files import save_drawn


def save_sheet(path: str, pictures: torch.Tensor, masks: torch.Tensor, columns: int) -> None:
    """Write N×3×H×W pictures and N×H×W masks, both from 0 to 1, in whole rows of so many columns."""
    cells = torch.cat([pictures, masks[:, None].expand(-1, 3, -1, -1)], dim=2)
    rows, (height, width) = len(cells) // columns, cells.shape[2:]
    sheet = cells[: rows * columns].reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    pixels = (sheet.reshape(rows * height, columns * width, 3) * 255).byte().numpy()
    save_drawn(path, Image.fromarray(pixels))
