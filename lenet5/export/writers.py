"""What export.py writes: one function a format."""

import io
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from lenet5.data.datasets import ImageSet, load_dataset, load_mnist, split_of
from lenet5.evaluation.metrics import compute_logits
from lenet5.export import html_page
from lenet5.export.onnx_graph import OPSET, describe, onnx_model, run_onnx
from lenet5.export.pruning import EPOCHS, learned, metadata_of, prune
from lenet5.export.quantization import quantised
from lenet5.imaging.inputs import to_input
from lenet5.networks.definition import count_parameters
from lenet5.networks.weights import save_weights
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import UserError, import_package, one_line, say
from lenet5.runtime.outputs import check_outputs

INT8 = "lenet5-int8.onnx"
KEEP = 0.1
# By how much logits may differ from PyTorch's, as a share of the largest: float32 has
# seven digits, and sums of 400 products in another order differ in the last two.
TOLERANCE = 1e-5
CALIBRATION = 1000  # images
HELD_OUT = 5000  # images to look at, for weights whose training held out none
MOST_LOST = 0.001  # accuracy that eight bits may cost, of held-out images


class Source(NamedTuple):
    """What is to be exported."""

    weights: str
    net: nn.Module
    metadata: dict
    data_dir: str

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """N×28×28 uint8 pictures as the network's input."""
        return to_input(images, self.metadata["mean"], self.metadata["std"])


def write_html(source: Source, path: str, arguments) -> None:
    """The page in which a digit is drawn and read."""
    names = html_page.write(path, source.weights, arguments.beside, arguments.arch)
    show(path, f"open it in a browser; networks: {', '.join(names)}")


def write_onnx(source: Source, path: str, arguments) -> None:
    """The network as one ONNX file, after a comparison on the whole test set."""
    model = onnx_model(source.net, source.metadata)
    images = load_mnist(source.data_dir).test_images
    largest, difference = compare(source, model, source.inputs(images))
    write_file(path, model.SerializeToString(deterministic=True))
    show(path, f"opset {OPSET}")
    found = f"up to {largest:.0f}: {difference:.0e} from PyTorch's"
    print(f"  logits of {len(images):,} test images, {found}")


def compare(source: Source, model, inputs: torch.Tensor) -> tuple[float, float]:
    """The largest of PyTorch's logits and of their differences from onnxruntime's.

    Raises UserError if they differ by more than the order of additions explains.
    """
    expected = compute_logits(source.net, inputs).numpy()
    found = run_onnx(model, inputs.numpy())
    single = run_onnx(model, inputs[:1].numpy())  # another size of batch
    largest = float(np.abs(expected).max())
    difference = max(float(np.abs(found - expected).max()), float(np.abs(single - expected[:1]).max()))
    if not difference <= TOLERANCE * max(1.0, largest):  # also catches nan
        raise UserError(
            f"onnxruntime's logits differ from PyTorch's by {difference:.0e}, and the largest is "
            f"{largest:.0f}: nothing is written; try another version of onnxruntime"
        )
    return largest, difference


def write_int8(source: Source, path: str, arguments) -> None:
    """The network in numbers of eight bits, if it reads as well."""
    model = onnx_model(source.net, source.metadata)
    data = own_data(source)
    chosen = calibration_images(source, data)
    small = quantised(model, source.inputs(chosen).numpy())
    describe(small, source.metadata)
    _, held = parts(source, data)
    seen = accuracies(source, (model, small), data.train_images[held], data.train_labels[held])
    lost = seen[0] - seen[1]
    if round(lost * len(held)) > max(1, round(MOST_LOST * len(held))):  # in images
        raise UserError(
            f"eight bits cost {100 * lost:.2f} points of accuracy on held-out images, and "
            f"{100 * MOST_LOST:.1f} is the most: nothing is written; --onnx keeps float32"
        )
    test = accuracies(source, (model, small), data.test_images, data.test_labels)
    write_file(path, small.SerializeToString(deterministic=True))
    show(path, f"float32 has {model.ByteSize():,}; {len(chosen):,} training images to calibrate")
    for name, count, found in (("held-out", len(held), seen), ("test", len(data.test_labels), test)):
        whole, eight = (f"{100 * accuracy:.2f} %" for accuracy in found)
        print(f"  {name} accuracy: {whole} in float32, {eight} in int8, of {count:,}")


def own_data(source: Source) -> ImageSet:
    """The data set that the weights were trained on. Raises UserError if it could not be loaded."""
    name = learned(source.weights, source.metadata)["dataset"]
    data = load_dataset(name, source.data_dir)
    if data.classes != source.metadata["classes"]:
        raise UserError(f"{source.weights} knows other classes than {name} has")
    return data


def parts(source: Source, data: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the images that the weights learned, and of those that their training held out.

    Where it held out none, of some that it did learn.
    """
    known = learned(source.weights, source.metadata)
    size = known["val_size"] or min(HELD_OUT, len(data.train_labels) // 6)
    return split_of(data, size, known["seed"])


def calibration_images(source: Source, data: ImageSet) -> torch.Tensor:
    """N×28×28 uint8 pictures that the weights learned, drawn with seed 0."""
    train, _ = parts(source, data)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    return data.train_images[train[order[:CALIBRATION]]]


def accuracies(source: Source, models, images: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """The share of images that each model reads right."""
    inputs = source.inputs(images).numpy()
    return [float((run_onnx(m, inputs).argmax(axis=1) == labels.numpy()).mean()) for m in models]


def write_npz(source: Source, path: str, arguments) -> None:
    """The weights as arrays (c1_weight, c1_bias …) with mean, std and classes, without pickles."""
    weights = {name.replace(".", "_"): t.numpy() for name, t in source.net.state_dict().items()}
    described = {name: np.array(source.metadata[name]) for name in ("arch", "mean", "std", "classes")}
    arrays: Any = weights | described
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_file(path, buffer.getvalue())
    show(path, f"{len(weights)} arrays of weights")


def write_pruned(source: Source, path: str, arguments) -> None:
    """The weights without those that the network can do without, trained on."""
    keep = KEEP if arguments.keep is None else arguments.keep
    epochs, arch = arguments.epochs or EPOCHS, source.metadata["arch"]
    run = prune(source.weights, keep, arch=arch, epochs=epochs, data_dir=source.data_dir)
    metadata = metadata_of(run, source.metadata)
    save_weights(path, run.net, **metadata)
    show(path, f"{metadata['parameters_left']:,} of {count_parameters(run.net):,} parameters are left")
    before, after = source.metadata.get("test_accuracy"), metadata["test_accuracy"]
    earlier = f", before {100 * before:.2f} %" if before is not None else ""
    print(f"  test accuracy: {100 * after:.2f} %{earlier}")


def show(path: str, words: str) -> None:
    """A line for a file that was written."""
    print(f"{one_line(path)}: {os.path.getsize(path):,} bytes; {words}", flush=True)


# What each flag writes, and the packages that it needs beside those of requirements.txt.
EXPORTS = {
    "html": (write_html, ()),
    "onnx": (write_onnx, ("onnx", "onnxruntime")),
    "int8": (write_int8, ("onnx", "onnxruntime")),
    "npz": (write_npz, ()),
    "prune": (write_pruned, ()),
}


# Flags that are for another one.
BELONGING = {"keep": "prune", "epochs": "prune", "beside": "html"}


def files_to_write(arguments, weights: str) -> dict[str, str]:
    """The file that each of the flags for one is to write. Raises UserError if one cannot be written."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    wanted = {name: given[name] for name in EXPORTS if name in given}
    if not wanted:
        flags = ", ".join(f"--{name} FILE" for name in EXPORTS)
        raise UserError(f"say what to write, one or more of: {flags} (see python export.py --help)")
    for flag, name in BELONGING.items():
        if flag in given and name not in wanted:
            raise UserError(f"--{flag} is for --{name}: give it a file, or leave it out")
    inputs = [weights, *(arguments.beside or [])]
    check_outputs({}, {f"--{name}": path for name, path in wanted.items()}, inputs)
    for name in wanted:
        for package in EXPORTS[name][1]:
            import_package(package, f"--{name}", "requirements-export.txt")
    return wanted


def write_one(name: str, path: str, source: Source, arguments) -> bool:
    """Whether the file of a flag was written; if it was not, a line says why.

    The others may do without what was missing for this one.
    """
    try:
        EXPORTS[name][0](source, path, arguments)
    except UserError as error:
        say(f"error: --{name}: {error}")
        return False
    return True
