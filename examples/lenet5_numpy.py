"""LeNet-5 in NumPy alone: what a convolution is, and the whole network in eight lines.

    $ python export.py --npz lenet5.npz
    $ python examples/lenet5_numpy.py lenet5.npz test_digits/digit_7.png
    test_digits/digit_7.png 7

It takes a picture as MNIST has them, a digit that fills the middle; others: lenet5/imaging/.
"""

import sys

import numpy as np
from PIL import Image


def convolve(x, weight, bias):
    """N×C×H×W pictures seen through M kernels of C×5×5: N×M×(H-4)×(W-4) maps.

    A number of a map is the sum of the 5×5 pixels around one place, each times the
    kernel's weight for it. So each weight sees the whole picture, moved by its place.
    """
    height, width = x.shape[2] - 4, x.shape[3] - 4
    maps = np.zeros((len(x), len(weight), height, width), np.float32) + bias[:, None, None]
    for i in range(5):
        for j in range(5):
            moved = x[:, :, i : i + height, j : j + width]
            maps += np.einsum("mc,nchw->nmhw", weight[:, :, i, j], moved, optimize=True)
    return maps


def largest_of_2x2(x):
    """N×M×H×W maps at half the size: the largest of each four neighbours."""
    return x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max(axis=(3, 5))


def lenet5(w, images):
    """N×10 logits of N×28×28 or N×32×32 uint8 pictures with bright ink; the largest wins."""
    edge = (32 - images.shape[1]) // 2
    x = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))[:, None] / np.float32(255)
    x = ((x - w["mean"]) / w["std"]).astype(np.float32)  # N×1×32×32
    x = largest_of_2x2(convolve(x, w["c1_weight"], w["c1_bias"]).clip(0))  # C1 28×28, S2 N×6×14×14
    x = largest_of_2x2(convolve(x, w["c3_weight"], w["c3_bias"]).clip(0))  # C3 10×10, S4 N×16×5×5
    x = (x.reshape(len(x), 400) @ w["c5_weight"].T + w["c5_bias"]).clip(0)  # C5 N×120; clip(0): ReLU
    x = (x @ w["f6_weight"].T + w["f6_bias"]).clip(0)  # F6 N×84
    return x @ w["output_weight"].T + w["output_bias"]


if __name__ == "__main__":
    try:
        weights = dict(np.load(sys.argv[1]))
        if weights["arch"] != "lenet5":
            raise ValueError(f"{sys.argv[1]} is of {weights['arch']}, and this is lenet5")
        for path in sys.argv[2:]:
            picture = np.asarray(Image.open(path).convert("L").resize((28, 28)))
            bright_ink = 255 - picture if np.median(picture) > 127 else picture
            print(path, lenet5(weights, bright_ink[None]).argmax())
    except Exception as error:  # NumPy and Pillow raise many kinds for a file that is not theirs
        print(f"error: {error} (the first lines of {sys.argv[0]} say how to call it)", file=sys.stderr)
        sys.exit(2)
