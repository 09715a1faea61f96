"""Weights on disk: plain state dicts that describe themselves."""

import copy
import functools
import io
import os
import pickletools
import reprlib
import zipfile
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from lenet5.networks.foreign_weights import MOST_CLASSES, renamed, unwrapped, without_prefix
from lenet5.networks.metadata import check_description
from lenet5.networks.registry import KNOWN, build
from lenet5.runtime.atomic_files import read_file, unpacked_size, write_file
from lenet5.runtime.errors import UserError, import_package, one_line, say, without_warnings

LARGEST_WEIGHTS = 64 << 20  # bytes; the largest network has half a megabyte
# Kinds of numbers that weights may be stored as; a network takes them all.
PLAIN_NUMBERS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
HINT = "train.py writes weights that can be read"


def default_metadata(net: nn.Module) -> dict:
    """What a network's weights say of themselves when nobody knows more."""
    output: Any = net.output  # a linear layer, or 1998's, which counts its classes alike
    classes = [str(i) for i in range(output.out_features)]
    return {"arch": net.arch, "mean": net.mean, "std": net.std, "classes": classes}


def weights_with_metadata(net: nn.Module, **metadata) -> OrderedDict:
    """A network's state dict on the CPU that carries its own description.

    The description travels in `_metadata[""]`, where PyTorch keeps a module's version: any
    program's `load_state_dict` accepts the file as it is. `metadata` adds to or overrides
    `default_metadata`, in plain numbers, strings and lists.
    """
    original: Any = net.state_dict()
    weights: Any = OrderedDict(
        # A dense copy in the ordinary order: the same bytes from every device and layout.
        (name, tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format))
        for name, tensor in original.items()
    )
    weights._metadata = copy.deepcopy(original._metadata)
    weights._metadata[""].update(default_metadata(net) | metadata)
    return weights


def save_weights(path, net: nn.Module, **metadata) -> None:
    """Write a network's weights to `path`, atomically. Raises UserError if that is not possible."""
    write_file(path, serialize(weights_with_metadata(net, **metadata)))


def load_weights(path, arch: str | None = None) -> tuple[nn.Module, dict]:
    """The network that a weights file describes, on the CPU, and its metadata.

    `arch`, where given, has to be the file's own architecture, and decides where a file
    without metadata could be of several.

    Raises UserError, in one line, for a file that is missing, is damaged, is not weights,
    holds code, is of another network, or has a weight that is not a finite number.
    """
    state, metadata = read_state_dict(path)
    state = without_prefix(state)
    if metadata:
        check_metadata(path, metadata)
        if arch not in (None, metadata["arch"]):
            raise UserError(f"{path} holds weights of {metadata['arch']}, not of {arch}")
    else:
        metadata["arch"], state = recognise(path, state, arch)
    net = build(metadata["arch"], class_count(path, state, metadata))
    try:
        net.load_state_dict(state)
    except RuntimeError as error:  # whose second line tells the first difference
        difference = one_line(str(error).splitlines()[1].strip()[:160])
        raise UserError(f"{path} is not of {metadata['arch']}: {difference}") from error
    for name, tensor in net.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds a value that is not a finite number")
    return net, default_metadata(net) | metadata


def read_state_dict(path) -> tuple[OrderedDict, dict]:
    """The tensors in a file and its metadata, if it has ours, read without running any code in it."""
    if not os.path.exists(path):
        raise UserError(f"there are no weights at {path}; make some with: python train.py")
    if os.fspath(path).lower().endswith(".onnx"):
        raise UserError(f"{path} is an exported network, of which layers are wanted: give its .pth")
    data = read_file(path, LARGEST_WEIGHTS)
    try:
        state, known = unwrapped(read_tensors(path, data))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # torch.load raises a dozen kinds for a file that is not its own
        if "GLOBAL" in str(error):  # the name of a class or function to be called
            what = "holds more than tensors, numbers and text, perhaps code, and is not loaded"
        else:
            what = "is not a weights file, or is damaged"
        raise UserError(f"{path} {what}; {HINT}") from error
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path} holds no weights but {type(state).__name__}; {HINT}")
    # A file can put anything in the place of an object's own `items`, but not of its class's.
    tensors = OrderedDict((name, plain_tensor(path, name, t)) for name, t in dict.items(state))
    written = getattr(state, "_metadata", None)
    written = dict.get(written, "") if isinstance(written, dict) else None
    metadata = dict(dict.items(written)) if isinstance(written, dict) else {}
    return tensors, metadata | known if "arch" in metadata else {}


def read_tensors(path, data: bytes):
    """What is in a file that torch.save wrote, or safetensors."""
    if not os.fspath(path).lower().endswith(".safetensors"):
        return deserialize(path, data, LARGEST_WEIGHTS)
    import_package("safetensors", path, "requirements-formats.txt")
    from safetensors.torch import load

    return load(data)


def plain_tensor(path, name, tensor) -> torch.Tensor:
    """One tensor of a state dict without whatever a file attached to it."""
    shown = one_line(reprlib.repr(name))
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        raise UserError(f"{path} is not a plain state dict: {shown} is no tensor; {HINT}")
    is_there = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_nested
    if not is_there or tensor.dtype not in PLAIN_NUMBERS:
        raise UserError(f"{path}: {shown} is not a tensor of plain numbers")
    return torch.Tensor.detach(tensor)


def serialize(value) -> bytes:
    """What torch.save would write to a file."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def deserialize(path, data: bytes, largest: int, device: torch.device | str = "cpu"):
    """What torch.save wrote, without running any code in it.

    Raises UserError for an archive that would be unpacked to more than `largest` bytes, and
    a dozen kinds of errors for what torch.save did not write.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        unpacked = unpacked_size(data)
        if unpacked > largest:
            raise UserError(f"{path} unpacks to {unpacked:,} bytes, which no LeNet needs")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    check_pickle(io.BytesIO(archive.read(name)))
    else:  # as before PyTorch 1.6: five pickles, then the numbers
        stream = io.BytesIO(data)
        for _ in range(5):
            check_pickle(stream)
    with without_warnings():  # of torch, about odd files; the callers check what came out
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


# Steps of a pickle whose results it may use again.
REUSABLE = {"GLOBAL", "BINUNICODE", "SHORT_BINSTRING", "EMPTY_DICT", "EMPTY_LIST", "REDUCE", "BINPERSID"}


def check_pickle(stream) -> None:
    """Raise ValueError for a pickle that uses a tuple again, or anything that may be one.

    A tuple that has a tuple twice, which has a tuple twice, and so on, is written in 300
    bytes. As the key of a dictionary, it would keep torch.load at work for years.
    """
    usable: set = set()
    before = ""
    for code, argument, _ in pickletools.genops(stream):
        if "BINPUT" in code.name:
            (usable.add if before in REUSABLE else usable.discard)(argument)
        elif "BINGET" in code.name and argument not in usable:
            raise ValueError("it uses a tuple again")
        before = code.name


def class_count(path, state: dict, metadata: dict) -> int:
    """The number of classes: as many as the last layer has outputs."""
    last = list(state.values())[-1]
    outputs = last.shape[0] if last.dim() else 0
    if "classes" in metadata and len(metadata["classes"]) != outputs:
        raise UserError(f"{path} names {len(metadata['classes'])} classes for {outputs} outputs")
    return outputs if 1 <= outputs <= MOST_CLASSES else 10


def fits(state: dict, name: str, num_classes: int) -> bool:
    """Whether weights have the names and shapes of a network."""
    try:
        wanted = build(name, num_classes).state_dict()
    except UserError:  # a network that does not come with so many classes
        return False
    return {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in wanted.items()}


def recognise(path, state: OrderedDict, arch: str | None) -> tuple[str, OrderedDict]:
    """The architecture of weights without metadata, and these under its names.

    It is `arch`, or else told from the tensors' names, or from their shapes.
    """
    number = class_count(path, state, {})
    named = [name for name in KNOWN if fits(state, name, number)]
    if arch in named or (arch is None and len(named) == 1):
        say_assumed(str(path), arch or named[0], "does not say what it is")
        return arch or named[0], state
    shaped = {} if named else renamed(state, arch)
    if len(shaped) == 1:
        ((name, own),) = shaped.items()
        say_assumed(str(path), name, "has names of another program")
        return name, own
    if arch is not None:
        say_assumed(str(path), arch, "does not say what it is")
        return arch, state  # whose first difference the caller tells
    fitting = named or list(shaped)
    found = f"could be {' or '.join(fitting)}" if fitting else "its shapes fit none of ours"
    raise UserError(f"{path} does not say what network it is of, and {found}: use --arch")


@functools.cache  # a script may load its weights more than once
def say_assumed(path: str, name: str, why: str) -> None:
    say(f"{path} {why}: assuming {name}, its activation and pooling, and its own normalisation")


def check_metadata(path, metadata: dict) -> None:
    """Raise UserError unless the metadata can be relied upon."""
    arch = metadata["arch"]
    if not isinstance(arch, str) or arch not in KNOWN:
        raise UserError(f"{path} is of {one_line(reprlib.repr(arch))}, which is not known here")
    check_description(path, metadata)
