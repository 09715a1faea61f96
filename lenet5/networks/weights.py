"""Weights on disk: plain state dicts that describe themselves."""

import copy
import functools
import io
import os
import pickletools
import warnings
import zipfile
from collections import OrderedDict

import torch
from torch import nn

from lenet5.networks.metadata import check_description
from lenet5.networks.registry import NETWORKS, build
from lenet5.runtime.atomic_files import read_file, unpacked_size, write_file
from lenet5.runtime.errors import UserError, one_line, say

# The largest network has 132,000 parameters, half a megabyte.
LARGEST_WEIGHTS = 64 << 20  # bytes
# Kinds of numbers that weights may be stored as; a network takes them all.
PLAIN_NUMBERS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
# Steps of a pickle that make what later ones may use again.
USED_AGAIN = (
    "GLOBAL",
    "BINUNICODE",
    "SHORT_BINSTRING",
    "EMPTY_DICT",
    "EMPTY_LIST",
    "REDUCE",
    "BINPERSID",
)


def default_metadata(net: nn.Module) -> dict:
    """What a network's weights say of themselves when nobody knows more."""
    return {
        "arch": net.arch,
        "mean": net.mean,
        "std": net.std,
        "classes": [str(i) for i in range(net.output.out_features)],
    }


def weights_with_metadata(net: nn.Module, **metadata) -> OrderedDict:
    """A network's state dict on the CPU that carries its own description.

    The description travels in `_metadata[""]`, where PyTorch keeps a module's
    version: any program's `load_state_dict` accepts the file as it is.
    `metadata` adds to or overrides `default_metadata`; it has to be made of
    plain numbers, strings and lists, since `torch.load(weights_only=True)`
    refuses all else.
    """
    original = net.state_dict()
    weights = OrderedDict(
        # A dense copy in the ordinary order: the same bytes from every device and layout.
        (name, tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format))
        for name, tensor in original.items()
    )
    weights._metadata = copy.deepcopy(original._metadata)
    weights._metadata[""].update(default_metadata(net) | metadata)
    return weights


def to_bytes(value) -> bytes:
    """What torch.save would write to a file."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def save_weights(path, net: nn.Module, **metadata) -> None:
    """Write a network's weights to `path`, complete or not at all.

    Raises UserError if the file cannot be written; the old one is then untouched.
    """
    write_file(path, to_bytes(weights_with_metadata(net, **metadata)))


def load_weights(path, arch: str | None = None) -> tuple[nn.Module, dict]:
    """The network that a weights file describes, on the CPU, and its metadata.

    `arch`, where given, has to be the file's own architecture, and decides
    where a file without metadata could be of several.

    Raises UserError, in one line, for a file that is not there, is damaged, is
    not weights, holds code, is of another network, or has a weight that is not
    a finite number.
    """
    state, metadata = read_state_dict(path)
    state = without_wrapper(state)
    if metadata:
        check_metadata(path, metadata)
        if arch not in (None, metadata["arch"]):
            raise UserError(f"{path} holds weights of {metadata['arch']}, not of {arch}")
    else:
        metadata["arch"] = recognise(path, state, arch)
    net = build(metadata["arch"], class_count(path, state, metadata))
    wanted = net.state_dict()
    if shapes(state) != shapes(wanted):
        raise UserError(f"{path} is not of {net.arch}: {first_difference(state, wanted)}")
    for name, tensor in state.items():
        if not tensor.to(torch.float32).isfinite().all():  # 1e300 is infinite in a network
            raise UserError(f"{path}: {name} holds a value that is not a finite number")
    net.load_state_dict(state)
    return net, default_metadata(net) | metadata


def read_state_dict(path) -> tuple[OrderedDict, dict]:
    """The tensors in a file and its metadata, if it has ours, read without running any code in it."""
    hint = "train.py writes weights that can be read"
    if not os.path.exists(path):
        raise UserError(f"there are no weights at {path}; make some with: python train.py")
    data = read_file(path, LARGEST_WEIGHTS)
    try:
        state = unpickled(path, data, LARGEST_WEIGHTS)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # torch.load raises a dozen kinds for a file that is not its own
        if "GLOBAL" in str(error):  # the name of a class or function to be called
            raise UserError(
                f"{path} holds more than tensors, numbers and text, perhaps code, "
                f"and is not loaded; {hint}"
            ) from error
        raise UserError(f"{path} is not a weights file, or is damaged; {hint}") from error
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path} holds no weights but {type(state).__name__}; {hint}")
    # A file can put anything in the place of an object's own `items`, but not of its class's.
    tensors = OrderedDict((name, plain_tensor(path, name, t)) for name, t in dict.items(state))
    written = getattr(state, "_metadata", None)
    written = dict.get(written, "") if isinstance(written, dict) else None
    is_ours = isinstance(written, dict) and "arch" in written
    return tensors, dict(dict.items(written)) if is_ours else {}


def plain_tensor(path, name, tensor) -> torch.Tensor:
    """One tensor of a state dict without whatever a file attached to it."""
    shown = one_line(name[:40]) if isinstance(name, str) else type(name).__name__
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        raise UserError(
            f"{path} is not a plain state dict: {shown!r} is no tensor; "
            "train.py writes weights that can be read"
        )
    is_there = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_nested
    if not is_there or tensor.dtype not in PLAIN_NUMBERS:
        raise UserError(f"{path}: {shown!r} is not a tensor of plain numbers")
    return torch.Tensor.detach(tensor)


def unpickled(path, data: bytes, largest: int, device="cpu"):
    """What torch.save wrote, without running any code in it.

    Raises UserError for an archive that would be unpacked to more than `largest`
    bytes, and a dozen kinds of errors for what torch.save did not write.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        unpacked = unpacked_size(data)
        if unpacked > largest:
            raise UserError(f"{path} unpacks to {unpacked:,} bytes, which no LeNet needs")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith("data.pkl"):
                    check_pickle(io.BytesIO(archive.read(entry)))
    else:  # as before PyTorch 1.6: five pickles, then the numbers
        stream = io.BytesIO(data)
        for _ in range(5):
            check_pickle(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about odd files; we look at what came out
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def check_pickle(stream) -> None:
    """Raise ValueError for a pickle that uses a tuple again, or anything that may be one.

    A tuple that has a tuple twice, which has a tuple twice, and so on, is written in
    300 bytes. Where it is the key of a dictionary, Python would look at it for years.
    """
    usable, before = set(), None
    for code, argument, _ in pickletools.genops(stream):
        if code.name in ("BINPUT", "LONG_BINPUT"):
            (usable.add if before in USED_AGAIN else usable.discard)(argument)
        elif code.name in ("BINGET", "LONG_BINGET") and argument not in usable:
            raise ValueError("it uses a tuple again")
        before = code.name


def without_wrapper(state: OrderedDict) -> OrderedDict:
    """Names without the prefix that torch.compile or DistributedDataParallel gives them."""
    for prefix in ("_orig_mod.", "module."):
        if all(name.startswith(prefix) for name in state):
            state = OrderedDict((name.removeprefix(prefix), t) for name, t in state.items())
    return state


def shapes(state: dict) -> dict:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def first_difference(state: dict, wanted: dict) -> str:
    """In words, the first tensor in which two state dicts differ."""
    for name in wanted:
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != wanted[name].shape:
            return f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
    extra = next(name for name in state if name not in wanted)
    return f"{one_line(extra)[:40]} does not belong to it"


def class_count(path, state: dict, metadata: dict) -> int:
    """The number of classes: as many as the last layer has outputs."""
    last = list(state.values())[-1]
    outputs = last.shape[0] if last.dim() else 0
    if "classes" in metadata and len(metadata["classes"]) != outputs:
        raise UserError(f"{path} names {len(metadata['classes'])} classes for {outputs} outputs")
    # The bound keeps a hostile file from asking for a layer of any size.
    return outputs if 1 <= outputs <= 10_000 else 10


def fits(state: dict, name: str, num_classes: int) -> bool:
    """Whether weights have the names and shapes of a network."""
    try:
        return shapes(state) == shapes(build(name, num_classes).state_dict())
    except UserError:  # a network that does not come with so many classes
        return False


def recognise(path, state: dict, arch: str | None) -> str:
    """The architecture of weights without metadata, from names and shapes alone."""
    number = class_count(path, state, {})
    fitting = [name for name in NETWORKS if fits(state, name, number)]
    if arch is None and len(fitting) > 1:
        raise UserError(f"{path} could be of {' or '.join(fitting)}: say which with --arch")
    if arch is None and not fitting:
        raise UserError(f"{path} does not say what network it is of, and its shapes fit none of ours")
    name = fitting[0] if arch is None else arch
    say_assumed(str(path), name)
    return name


@functools.cache  # a script may load its weights more than once
def say_assumed(path: str, name: str) -> None:
    say(f"{path} does not say what it is: assuming {name} and its own normalisation")


def check_metadata(path, metadata: dict) -> None:
    """Raise UserError unless the metadata can be relied upon."""
    arch = metadata["arch"]
    if not isinstance(arch, str):
        raise UserError(f"{path} is of a {type(arch).__name__}, which is not known here")
    if arch not in NETWORKS:
        raise UserError(f"{path} is of {one_line(arch[:40])!r}, which is not known here")
    check_description(path, metadata)
