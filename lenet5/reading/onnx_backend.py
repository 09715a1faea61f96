"""An exported network: what `python export.py --onnx` wrote answers without PyTorch.

    >>> import numpy as np
    >>> from lenet5.reading.onnx_backend import ExportedNetwork
    >>> network = ExportedNetwork("lenet5.onnx")
    >>> network.logits(np.zeros((1, 28, 28), np.uint8)).shape
    (1, 10)

onnxruntime (in requirements-export.txt) runs the graph, and takes a small part of the time
that PyTorch takes to import (`benchmarks/inference_start.py`). A file may come from anywhere,
so it is looked through first: only graphs of the operations that `onnx_graph.py` writes are
run, with the numbers that the file itself brings, and in as much memory as a LeNet needs.
"""

import contextlib
import functools
import json
import math
import os
from collections.abc import Iterator

import numpy as np

from lenet5.evaluation.confidence import softmax
from lenet5.imaging.mnist_format import PADDING, SIDE
from lenet5.networks.metadata import check_description
from lenet5.runtime.atomic_files import read_file
from lenet5.runtime.errors import UserError, import_package, one_line

INPUT, OUTPUT = "input", "logits"  # the names of the graph's ends
INPUT_SIDE = SIDE + 2 * PADDING
# Pictures at a time, whose states stay in the processor's cache.
BATCH_SIZE = 250
# One thread: a second one takes longer to wake up than a picture takes, and several processes
# that read pictures do not get in each other's way.
THREADS = 1
LARGEST_FILE = 16 << 20  # bytes; the largest network has half a megabyte
MOST_MEMORY = 512 << 20  # bytes of all states together; 250 pictures of the largest network take 40 MB
MOST_NODES = 100  # the largest network has 34, and in eight bits 46
# What the graphs of onnx_graph.py are made of, in float32 and in eight bits.
OPERATIONS = (
    *("Add", "AveragePool", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Mul", "Neg"),
    *("ReduceSum", "Relu", "Slice", "Sub", "Tanh", "Unsqueeze"),
    *("DequantizeLinear", "QuantizeLinear"),
)
# What of them can be set, from where to where: onnxruntime divides by a stride of 0, and dies of it.
SETTINGS = {
    "axis": (0, 3),
    "keepdims": (0, 1),
    "kernel_shape": (1, 32),
    "pads": (0, 32),
    "strides": (1, 32),
    "transB": (0, 1),
}
HINT = "python export.py --onnx FILE writes one that can be read"


def is_exported(path) -> bool:
    """Whether a file of weights is an exported network, by its name."""
    return os.fspath(path).lower().endswith(".onnx")


class ExportedNetwork:
    """The network of an .onnx file, with what it says of itself in `metadata`.

    `arch`, where given, has to be the file's own architecture; `device` is "auto" or "cpu".

    Raises UserError, in one line, for a file that is not there, is damaged, is no network
    of export.py's, or wants more than such a network needs, and where onnxruntime is missing.
    """

    def __init__(self, path, arch: str | None = None, device: str = "auto"):
        self.path = os.fspath(path)
        if device not in ("auto", "cpu"):
            raise UserError(
                f"{path} is read on the CPU, not on the device {device}: "
                "take the device auto or cpu, or the .pth that it was made from"
            )
        if not os.path.exists(path):
            raise UserError(f"there is no {path}; {HINT}")
        data = read_file(path, LARGEST_FILE)
        check_graph(path, data)
        self.session, texts = open_session(path, data)
        self.metadata = read_metadata(path, texts)
        self.arch = self.metadata["arch"]
        if arch not in (None, self.arch):
            raise UserError(f"{path} holds a network of {self.arch[:40]}, not of {arch}")
        check_ends(path, self.session, len(self.metadata["classes"]))
        # As to_input of preprocess.py computes it for each pixel, for the 256 levels that there are.
        scale, zero = 1 / (255 * self.metadata["std"]), self.metadata["mean"] / self.metadata["std"]
        self.levels = np.arange(256, dtype=np.float32) * np.float32(scale) - np.float32(zero)

    def inputs(self, images: np.ndarray) -> np.ndarray:
        """The network's N×1×32×32 float32 inputs of N×28×28 uint8 pictures, as `to_input` makes them."""
        inputs = np.full((len(images), 1, INPUT_SIDE, INPUT_SIDE), self.levels[0], np.float32)
        inputs[:, 0, PADDING:-PADDING, PADDING:-PADDING] = self.levels[images]
        return inputs

    def logits(self, images) -> np.ndarray:
        """N×classes float32 logits of N×28×28 uint8 pictures, an array or a tensor."""
        images = np.asarray(images)
        if len(images) <= BATCH_SIZE:
            return self.run(self.inputs(images))
        parts = range(0, len(images), BATCH_SIZE)
        return np.concatenate([self.run(self.inputs(images[i : i + BATCH_SIZE])) for i in parts])

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """N×classes float32 logits of N×1×32×32 float32 inputs."""
        return self.session.run([OUTPUT], {INPUT: inputs})[0]

    softmax = staticmethod(softmax)  # of its logits


def open_session(path, data: bytes) -> tuple:
    """An onnxruntime session for a model, and the texts of its metadata.

    Raises UserError if it is not one that can be run.
    """
    runtime = import_package("onnxruntime", path, "requirements-export.txt")
    limit_memory()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = 4  # nothing on stderr: what is wrong is raised, too
    options.add_session_config_entry("session.use_env_allocators", "1")
    with running(path):
        # Without a second try, of which onnxruntime would print a line.
        session = runtime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        return session, session.get_modelmeta().custom_metadata_map


@contextlib.contextmanager
def running(path):
    """What onnxruntime raises in here is a UserError: the model in a file cannot be run."""
    try:
        yield
    except Exception as error:  # it has a kind for each status, and Python's for names that are no text
        words = one_line(str(error).split("\n")[0])[:200]
        raise UserError(f"{path} cannot be run: {words}; {HINT}") from error


@functools.cache  # once a process
def limit_memory() -> None:
    """Have all sessions of this process share one store of memory, which does not grow without end."""
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY}))


def read_metadata(path, texts: dict[str, str]) -> dict:
    """What a file says of itself: text as it is and all else as JSON (`onnx_graph.describe`).

    Raises UserError if it does not say what reading needs, or nothing that can be relied upon.
    """
    missing = [name for name in ("arch", "mean", "std", "classes") if name not in texts]
    if missing:
        raise UserError(
            f"{path} does not say its {missing[0]}, so pictures cannot be read with it; {HINT}"
        )
    metadata = {name: value if name == "arch" else value_of(value) for name, value in texts.items()}
    check_description(path, metadata)
    return metadata


def value_of(text: str):
    """A value of the metadata: what the JSON says, or else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def check_ends(path, session, classes: int) -> None:
    """Raise UserError unless a session takes pictures and gives as many numbers as there are classes."""
    pictures = np.zeros((2, 1, INPUT_SIDE, INPUT_SIDE), np.float32)  # a graph may be made for one alone
    with running(path):
        ends = (session.get_inputs(), session.get_outputs())
        found = [[(end.name, end.shape[1:]) for end in some] for some in ends]
    if found != [[(INPUT, [1, INPUT_SIDE, INPUT_SIDE])], [(OUTPUT, [classes])]]:
        raise UserError(f"{path} reads and gives other numbers than N×1×32×32 and N×{classes}; {HINT}")
    with running(path):
        (answer,) = session.run([OUTPUT], {INPUT: pictures})
    if answer.shape != (2, classes) or answer.dtype != np.float32:
        raise UserError(f"{path} gives other numbers than N×{classes} in float32; {HINT}")


def check_graph(path, data: bytes) -> None:
    """Raise UserError for a model that is damaged, or wants what no network here wants.

    onnxruntime would open other files in which a model says that its numbers are, and run
    loops without an end and operations that others have brought along.
    """
    try:
        graphs = []
        for field, value in fields(data):
            if field in (20, 25):  # steps of a training; functions
                raise foreign(path, "functions of its own")
            if field == 7:
                graphs.append(value)
        for graph in graphs:
            check_parts(path, graph)
    except ValueError as error:
        raise UserError(f"{path} is not an ONNX file, or is damaged; {HINT}") from error
    if not graphs:
        raise UserError(f"{path} is not an ONNX file, or is damaged; {HINT}")


def foreign(path, what: str) -> UserError:
    """The error of a graph that no network here has."""
    return UserError(f"{path} has {what}, which no network here has, and is not run; {HINT}")


def check_parts(path, graph) -> None:
    """Raise UserError for nodes and numbers that no network here has; ValueError for a damaged graph."""
    nodes = 0
    for field, value in fields(graph):
        if field == 1:
            nodes += 1
            check_node(path, value)
        elif field == 5:
            check_numbers(path, value)
        elif field == 15:
            raise foreign(path, "sparse numbers")
    if nodes > MOST_NODES:
        raise foreign(path, f"{nodes:,} nodes")


def check_node(path, node) -> None:
    """Raise UserError for an operation, or a setting of one, that no network here has."""
    for field, value in fields(node):
        if field == 4 and (name := text(value)) not in OPERATIONS:
            raise foreign(path, f"the operation {one_line(name[:40])}")
        if field == 7 and value != b"":  # a domain beside ONNX's own
            raise foreign(path, "operations that are not of ONNX")
        if field == 5:
            check_setting(path, value)


def check_setting(path, setting) -> None:
    """The same for one setting: a name and integers, and no graph, no list of numbers and no text."""
    names, numbers = [], []
    for field, value in fields(setting):
        if field == 1:
            names.append(text(value))
        elif field in (3, 8):
            numbers += integers(value)
        elif field not in (13, 20):  # a comment; which kind it is
            raise foreign(path, "an operation with more than integers to set")
    for name in names:
        least, most = SETTINGS.get(name, (1, 0))
        if not all(least <= number <= most for number in numbers):
            raise foreign(path, f"the setting {one_line(name[:40])} {numbers[:4]} of an operation")


def check_numbers(path, tensor) -> None:
    """Raise UserError for numbers that are elsewhere, or none, or more than there are bytes of them."""
    sides = []
    for field, value in fields(tensor):
        if field == 1:
            sides += integers(value)
        if field == 13 or (field == 14 and value != 0):
            raise UserError(f"{path} has its numbers in another file, which is not read; {HINT}")
    if not all(0 < side <= len(tensor) for side in sides) or math.prod(sides) > len(tensor):
        raise foreign(path, f"{'×'.join(map(str, sides[:4]))} numbers in {len(tensor):,} bytes")


def text(value: int | memoryview) -> str:
    """The text of a field. Raises ValueError if it has none."""
    if isinstance(value, int):
        raise ValueError("it has an integer in place of text")
    return bytes(value).decode()


def fields(message) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of a message of protocol buffers: its number, and an integer or its bytes.

    The format is protobuf.dev/programming-guides/encoding. Raises ValueError for what is none.
    """
    if isinstance(message, int):
        raise ValueError("it has an integer in place of a message")
    message, place = memoryview(message), 0
    while place < len(message):
        tag, place = integer(message, place)
        kind = tag % 8
        if kind == 0:
            value, place = integer(message, place)
        elif kind in (1, 2, 5):
            length, place = integer(message, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
            value, place = message[place : place + length], place + length
            if place > len(message):
                raise ValueError("it ends in the middle of a field")
        else:
            raise ValueError("it has a field of an unknown kind")
        yield tag // 8, value


def integer(message: memoryview, place: int) -> tuple[int, int]:
    """The integer at a place, seven bits a byte, the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[place]
        value, place = value | (byte & 127) << shift, place + 1
        if byte < 128:
            return value, place
    raise ValueError("it has a number of more than ten bytes")


def integers(value: int | memoryview) -> Iterator[int]:
    """The signed integers of a field, which has one, or several in its bytes."""
    if isinstance(value, int):
        value = [value]
    else:
        message, place, value = value, 0, []
        while place < len(message):
            number, place = integer(message, place)
            value.append(number)
    for number in value:
        yield number - (1 << 64) if number >= 1 << 63 else number
