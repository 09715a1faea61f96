"""The finder as an ONNX graph, for reading pictures without PyTorch.

    $ python -m lenet5.export.finder_onnx

writes pretrained/finder.onnx, which `ExportedFinder` runs, from pretrained/finder.pth.
"""

import sys
from typing import Any

import torch.nn.functional as F

from lenet5.export.onnx_graph import POOLING, Graph, checked_model
from lenet5.networks.finder import LEAST_DEVIATION, PRETRAINED, Finder, FinderNetwork
from lenet5.reading.onnx_backend import INPUT, MASKS
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.cli import ArgumentParser, command_line
from lenet5.runtime.errors import import_package

ABOUT = (
    "N×3×H×W uint8 pictures, H and W multiples of 16, to N×2×H×W masks from 0 to 1: "
    "the ink of the digit that is meant, and that of all writing."
)


def finder_model(net: Finder):
    """A finder whose batch norms are folded, as an onnx.ModelProto: uint8 pictures to masks."""
    import numpy as np
    from onnx import TensorProto, helper

    layers: Any = net  # for mypy, to which a part of a module is a module
    graph = Graph()
    graph.add("Cast", name="levels", to=TensorProto.FLOAT)
    add_normalisation(graph)
    # PixelUnshuffle and a 3×3 convolution are one of 6×6 pixels at every second place.
    add_convolution(graph, layers.stem[1][0], "stem", stride=2)
    skips = []
    for i, block in enumerate(layers.down):
        if i:
            graph.add("MaxPool", name=f"down{i}.pool", **POOLING)
        for j, part in enumerate(block):
            add_convolution(graph, part[0], f"down{i}.{j}")
        skips.append(graph.last)
    graph.add("GlobalAveragePool", name="mean")
    graph.add("Add", skips.pop(), name="down")
    twice = graph.number("twice", np.array([1, 1, 2, 2], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    for i, block in enumerate(layers.up):
        graph.add("Resize", "", twice, name=f"up{i}.larger", nearest_mode="floor", **nearest)
        larger, graph.last = graph.last, skips.pop()
        graph.add("Concat", larger, name=f"up{i}.both", axis=1)
        add_convolution(graph, block[0], f"up{i}")
    add_convolution(graph, layers.output[0], "output", activation=False)
    graph.add("DepthToSpace", name="logits", blocksize=2, mode="CRD")
    graph.add("Sigmoid", name=MASKS)
    ends = [
        helper.make_tensor_value_info(name, kind, ["batch", channels, "height", "width"])
        for name, kind, channels in ((INPUT, TensorProto.UINT8, 3), (MASKS, TensorProto.FLOAT, 2))
    ]
    return checked_model(graph, ends, ABOUT, {"arch": "finder"})


def add_normalisation(graph: Graph) -> None:
    """Pictures from 0 to 255 as `normalised` has them."""
    import numpy as np

    def add_mean(name: str) -> None:
        graph.add("ReduceMean", name=name, axes=[1, 2, 3], keepdims=1)

    pictures = graph.last
    add_mean("mean.level")
    mean, graph.last = graph.last, pictures
    graph.add("Sub", mean, name="centred")
    graph.add("Mul", "centred", name="squares")
    add_mean("variance")
    graph.add("Sqrt", name="deviation")
    graph.add("Add", graph.number("least", np.float32(255 * LEAST_DEVIATION)), name="divisor")
    graph.last = "centred"
    graph.add("Div", "divisor", name="normalised")


def add_convolution(
    graph: Graph, layer: Any, name: str, stride: int = 1, activation: bool = True
) -> None:
    """An nn.Conv2d of 3×3, of blocks of `stride` pixels a side, and ReLU if there is an `activation`."""
    values = {"weight": F.pixel_shuffle(layer.weight, stride), "bias": layer.bias}
    numbers = [graph.number(f"{name}.{what}", value.detach().numpy()) for what, value in values.items()]
    inner = f"{name}.convolution"
    graph.add("Conv", *numbers, name=inner, pads=[stride] * 4, strides=[stride] * 2)
    if activation:
        graph.add("Relu", name=name)


@command_line
def main(argv=None) -> int:
    about = "Write pretrained/finder.onnx from pretrained/finder.pth."
    ArgumentParser(prog="-m lenet5.export.finder_onnx", description=about).parse_args(argv)
    path = PRETRAINED.with_suffix(".onnx")
    import_package("onnx", path, "requirements-export.txt")
    model = finder_model(FinderNetwork(PRETRAINED).net)
    write_file(path, model.SerializeToString(deterministic=True))
    print(f"{path}: {model.ByteSize():,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
