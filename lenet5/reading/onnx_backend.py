"""An exported network: what `python export.py --onnx` wrote answers without PyTorch.

    >>> import numpy as np
    >>> from lenet5.reading.onnx_backend import ExportedNetwork
    >>> network = ExportedNetwork("lenet5.onnx")
    >>> network.logits(np.zeros((1, 28, 28), np.uint8)).shape
    (1, 10)

onnxruntime (in requirements-export.txt) runs the graph, and takes a small part of the time
that PyTorch takes to import (`benchmarks/inference_start.py`). A file may come from anywhere:
its size and its memory are limited, it brings all its numbers, and it has no loops.
"""

import contextlib
import functools
import json
import os

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
EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
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
        if b"Loop" in data:  # an operation that need not end, in which no signal is heard
            raise UserError(f"{path} has a loop, which no network here has, and is not run; {HINT}")
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
    # Numbers in other files are looked for where nothing is, and not in the working directory.
    options.add_session_config_entry(EXTERNAL_FOLDER, os.devnull)
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
