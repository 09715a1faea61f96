"""The back end of onnxruntime: exported networks that read pictures and find ink, without PyTorch.

    >>> import numpy as np
    >>> from lenet5.reading.onnx_backend import ExportedNetwork
    >>> network = ExportedNetwork("lenet5.onnx")
    >>> network.logits(np.zeros((1, 28, 28), np.uint8)).shape
    (1, 10)

`python export.py --onnx lenet5.onnx` writes such a file. onnxruntime (in requirements-export.txt)
takes a small part of the time that PyTorch takes to import (`benchmarks/inference_start.py`).
A file may come from anywhere: its size is limited, it brings all its numbers, and it has no loops.
"""

from __future__ import annotations

import contextlib
import json
import os

import numpy as np

from lenet5.evaluation.confidence import softmax
from lenet5.imaging.inputs import normalised
from lenet5.imaging.mnist_format import PADDING, SIDE
from lenet5.networks.metadata import check_description
from lenet5.runtime.atomic_files import read_file
from lenet5.runtime.errors import UserError, import_package, one_line
from lenet5.runtime.project_files import project_file

FINDER = project_file("pretrained/finder.onnx")
INPUT, OUTPUT, MASKS = "input", "logits", "masks"  # the names of the graphs' ends
INPUT_SIDE = SIDE + 2 * PADDING
BATCH_SIZE = 250  # pictures at a time, whose states stay in the processor's cache
# One thread: a second one takes longer to wake up than a picture takes, and several processes
# that read pictures do not get in each other's way.
THREADS = 1
LARGEST_FILE = 16 << 20  # bytes; the largest network has half a megabyte
EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
HINT = "python export.py --onnx FILE writes one that can be read"
FINDER_HINT = "python -m lenet5.export.finder_onnx writes it"


class ExportedFile:
    """The network of an .onnx file, with what it says of itself in `metadata`.

    `arch`, where given, has to be the file's own architecture; `device` is "auto" or "cpu".

    Raises UserError for a file that is missing, damaged or no network of export.py's, and where
    onnxruntime is missing.
    """

    def __init__(self, path, arch: str | None = None, device: str = "auto"):
        self.path = os.fspath(path)
        if device not in ("auto", "cpu"):
            raise UserError(
                f"{path} is read on the CPU, not on the device {device}: "
                "take the device auto or cpu, or the .pth that it was made from"
            )
        self.session = open_session(path)
        self.metadata = read_metadata(path, self.session)
        self.arch = self.metadata["arch"]
        if arch not in (None, self.arch):
            raise UserError(f"{path} holds a network of {self.arch[:40]}, not of {arch}")

    def __reduce__(self):
        """Pickled by its path, since a session cannot be: another process opens the file again."""
        return type(self), (os.path.abspath(self.path), self.arch)

    def check(self, answer_to, blank: tuple[int, ...], shape: tuple[int, ...]) -> None:
        """Raise UserError unless the answer to uint8 zeros of a shape has the other one."""
        with cannot_be_run(self.path):
            answer = answer_to(np.zeros(blank, np.uint8))
        if answer.shape != shape or answer.dtype != np.float32:
            wanted = "×".join(["N", *map(str, shape[1:])])
            raise UserError(f"{self.path} gives other numbers than {wanted} in float32; {HINT}")

    def load_finder(self) -> ExportedFinder:
        """The finder, without PyTorch as well."""
        return ExportedFinder()


class ExportedNetwork(ExportedFile):
    """The network of an .onnx file that classifies pictures: see `ExportedFile`."""

    softmax = staticmethod(softmax)  # of its logits

    def __init__(self, path, arch: str | None = None, device: str = "auto"):
        super().__init__(path, arch, device)
        self.check(self.logits, (2, SIDE, SIDE), (2, len(self.metadata["classes"])))

    def inputs(self, images: np.ndarray) -> np.ndarray:
        """The network's N×1×32×32 float32 inputs of N×28×28 uint8 pictures, as `to_input` makes them."""
        mean, std = self.metadata["mean"], self.metadata["std"]
        inputs = np.full((len(images), 1, INPUT_SIDE, INPUT_SIDE), -mean / std, np.float32)
        inner = slice(PADDING, -PADDING)
        inputs[:, 0, inner, inner] = normalised(images.astype(np.float32), mean, std)
        return inputs

    def logits(self, images) -> np.ndarray:
        """N×classes float32 logits of N×28×28 uint8 pictures, an array or a tensor."""
        images = np.asarray(images)
        starts = range(0, max(1, len(images)), BATCH_SIZE)
        parts = (self.inputs(images[start : start + BATCH_SIZE]) for start in starts)
        return np.concatenate([self.session.run([OUTPUT], {INPUT: part})[0] for part in parts])


class ExportedFinder:
    """The finder of an .onnx file: what `FinderNetwork` is with PyTorch.

    Raises UserError for a file that cannot be used.
    """

    def __init__(self, path=FINDER):
        self.path, self.session = os.path.abspath(path), open_session(path, FINDER_HINT)

    def __reduce__(self):
        return type(self), (self.path,)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """N×3×H×W uint8 pictures to N×2×H×W float32 from 0 to 1: the digit's ink, and all writing."""
        return self.session.run([MASKS], {INPUT: pictures})[0]


def open_session(path, hint: str = HINT):
    """An onnxruntime session for the model in a file; `hint` ends the message of an error.

    Raises UserError if there is none, or none that can be run.
    """
    if not os.path.exists(path):
        raise UserError(f"there is no {path}; {hint}")
    data = read_file(path, LARGEST_FILE)
    if b"Loop" in data:  # an operation that need not end, in which no signal is heard
        raise UserError(f"{path} has a loop, which no network here has, and is not run; {hint}")
    runtime = import_package("onnxruntime", path, "requirements-export.txt")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = 4  # nothing on stderr: what is wrong is raised, too
    # Numbers in other files are looked for where nothing is, and not in the working directory.
    options.add_session_config_entry(EXTERNAL_FOLDER, os.devnull)
    with cannot_be_run(path, hint):
        # Without a second try, of which onnxruntime would print a line.
        return runtime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )


@contextlib.contextmanager
def cannot_be_run(path, hint: str = HINT):
    """What onnxruntime raises in here is a UserError: the model in a file cannot be run."""
    try:
        yield
    except Exception as error:  # it has a kind for each status, and Python's for names that are no text
        words = one_line(str(error).split("\n")[0])[:200]
        raise UserError(f"{path} cannot be run: {words}; {hint}") from error


def read_metadata(path, session) -> dict:
    """What a file says of itself: `arch` as it is and all else as JSON (`onnx_graph.describe`).

    Raises UserError if it does not say what reading needs, or nothing that can be relied upon.
    """
    with cannot_be_run(path):
        texts = session.get_modelmeta().custom_metadata_map
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
