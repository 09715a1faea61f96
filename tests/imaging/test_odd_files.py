"""Files of every mode with sides of one pixel, and the memory that an array takes."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from lenet5.imaging.opening import open_picture, upright_picture
from lenet5.imaging.preprocess import FINDER_MULTIPLE, FINDER_SIDE, LONGEST_STRIP, View, prepare

FILES = {  # mode, ending and what is given to `save`; the mode when it is opened
    "L": ("L", "png", {}, "L"),
    "RGB": ("RGB", "png", {}, "RGB"),
    "RGBA": ("RGBA", "png", {}, "RGB"),
    "LA": ("LA", "png", {}, "L"),
    "16 bits": ("I;16", "png", {}, "L"),
    "palette": ("P", "png", {}, "RGB"),
    "transparent palette": ("P", "png", {"transparency": 0}, "RGB"),
    "CMYK": ("CMYK", "jpg", {}, "RGB"),
    "GIF": ("P", "gif", {"save_all": True, "append_images": [Image.new("P", (1, 1), 5)]}, "RGB"),
}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("kind", FILES)
def test_files_of_every_mode_with_sides_of_one_pixel(tmp_path, kind, size):
    mode, ending, options, opened_mode = FILES[kind]
    path = tmp_path / f"a.{ending}"
    Image.new(mode, size).save(path, **options)
    opened = upright_picture(path)
    assert (opened.size, opened.mode) == (size, opened_mode)
    ((found, error),) = prepare([path])
    assert error is None
    if isinstance(found, View):
        height, width = found.scaled.shape[:2]
        assert FINDER_SIDE <= max(height, width) <= LONGEST_STRIP
        assert height % FINDER_MULTIPLE == width % FINDER_MULTIPLE == 0
    else:
        assert not found.any()


def test_an_array_of_bytes_is_opened_without_a_larger_copy():
    array = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), dtype=np.uint8)
    tracemalloc.start()
    opened = open_picture(array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes
    assert np.array_equal(np.asarray(opened), array)
    assert np.array_equal(np.asarray(open_picture(array[::-1, ::2])), array[::-1, ::2])
