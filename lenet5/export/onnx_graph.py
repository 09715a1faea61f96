"""A network as an ONNX graph, in one file that needs neither PyTorch nor this project.

    >>> net, metadata = load_weights("lenet5_model.pth")
    >>> model = onnx_model(net, metadata)
    >>> run_onnx(model, inputs).shape
    (10000, 10)

The graph is built from the list of operations in `lenet5/networks/operations.py`, one node or a few for
each, so that its states have the names of the paper. What the weights say of
themselves (network, mean, std, classes, temperature …) is in the file's metadata, text
as it is and all else as JSON: enough to bring a picture to the input and to name the
answer.

onnx and onnxruntime are in requirements-export.txt.
"""

import json

import numpy as np
from torch import nn

from lenet5.networks.lenet1998 import AMPLITUDE, STEEPNESS
from lenet5.networks.operations import Operation, operations
from lenet5.reading.onnx_backend import INPUT, OUTPUT
from lenet5.runtime.errors import one_line

# Opset 13 is of 2020: what reads ONNX at all reads it. It is the first that quantises
# the weights of each map by themselves.
OPSET, IR_VERSION = 13, 7
ABOUT = (
    "N×1×32×32 pictures to N×classes logits, of which the largest wins. The input is "
    "(pixel / 255 - mean) / std, with the ink bright and MNIST's 28×28 in the middle of 32×32; "
    "mean, std, classes and temperature are in the metadata."
)
BATCH_SIZE = 500


class Graph:
    """The nodes of an ONNX graph, one after the other, and the numbers that they need."""

    def __init__(self):
        self.nodes, self.numbers, self.last, self.is_flat = [], [], INPUT, False

    def add(self, kind: str, *others: str, name: str, **attributes) -> None:
        """A node that reads what the last one gave, and `others`; its result has its name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, [self.last, *others], [name], name, **attributes))
        self.last = name

    def number(self, name: str, value) -> str:
        """Numbers that go with the graph; their name."""
        from onnx import numpy_helper

        self.numbers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def flatten(self, name: str) -> None:
        """Maps as units, N×maps×H×W to N×units, unless they are that already."""
        if not self.is_flat:
            self.add("Flatten", name=name, axis=1)
            self.is_flat = True


def add_operation(graph: Graph, operation: Operation, layer: str, name: str) -> None:
    """What `operations.apply` does in a `layer`, as nodes of which the last has a `name`."""
    kind, _, weight, bias, amount = operation
    inner = f"{layer}.{kind}"

    def number(what: str, value) -> str:
        return graph.number(f"{inner}.{what}", np.asarray(value))

    if kind == "crop":
        places = [number("from", [amount] * 2), number("to", [-amount] * 2), number("axes", [2, 3])]
        graph.add("Slice", *places, name=name)
    elif kind == "convolution":
        numbers = [number("weight", weight), number("bias", bias)]
        graph.add("Conv", *numbers, name=name, pads=[amount] * 4, kernel_shape=weight.shape[2:])
    elif kind in ("largest", "mean"):
        pool = {"largest": "MaxPool", "mean": "AveragePool"}[kind]
        graph.add(pool, name=name, kernel_shape=[2, 2], strides=[2, 2])
    elif kind == "mean-of-map":
        graph.add("GlobalAveragePool", name=name)  # N×maps×1×1
    elif kind == "scale":
        graph.add("Mul", number("weight", weight[:, None, None]), name=f"{inner}.times")
        graph.add("Add", number("bias", bias[:, None, None]), name=name)
    elif kind == "full":
        graph.flatten(f"{inner}.flat")
        graph.add("Gemm", number("weight", weight), number("bias", bias), name=name, transB=1)
    elif kind == "distance":
        graph.flatten(f"{inner}.flat")
        graph.add("Unsqueeze", number("axis", [1]), name=f"{inner}.to.each")
        graph.add("Sub", number("weight", weight), name=f"{inner}.difference")
        graph.add("Mul", graph.last, name=f"{inner}.square")
        graph.add("ReduceSum", number("units", [2]), name=f"{inner}.sum", keepdims=0)
        graph.add("Neg", name=name)
    elif kind == "squash":
        graph.add("Mul", number("steepness", np.float32(STEEPNESS)), name=f"{inner}.argument")
        graph.add("Tanh", name=f"{inner}.tanh")
        graph.add("Mul", number("amplitude", np.float32(AMPLITUDE)), name=name)
    else:
        graph.add({"relu": "Relu", "tanh": "Tanh"}[kind], name=name)


def layer_names(steps: list[Operation]) -> list[str]:
    """For each operation the name of the layer that it belongs to: that of the next one with a name."""
    names, name = [], ""
    for step in reversed(steps):
        name = step.name or name
        names.append(name)
    return names[::-1]


def onnx_model(net: nn.Module, metadata: dict):
    """A network of the family as an onnx.ModelProto, which onnx's own checker has passed."""
    import onnx
    from onnx import TensorProto, helper

    graph, steps = Graph(), operations(net)
    for step, layer in zip(steps, layer_names(steps), strict=True):
        is_last = step is steps[-1]
        add_operation(graph, step, layer, OUTPUT if is_last else step.name or f"{layer}.{step.kind}")
    # "batch" stands for any number of pictures.
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in ((INPUT, (1, 32, 32)), (OUTPUT, (len(metadata["classes"]),)))
    ]
    whole = helper.make_graph(graph.nodes, metadata["arch"], ends[:1], ends[1:], graph.numbers)
    model = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="export.py of LeNet-5",
        doc_string=ABOUT,
    )
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    describe(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(model, metadata: dict) -> None:
    """Write into a model what the weights say of themselves: plain numbers, text and lists."""
    from onnx import helper

    told = {name: value for name, value in metadata.items() if is_plain(value)}
    helper.set_model_props(
        model,
        {
            one_line(name): one_line(value) if isinstance(value, str) else json.dumps(value)
            for name, value in told.items()
        },
    )


def is_plain(value) -> bool:
    """Whether a value of the metadata can be written as text: a file may hold anything else."""
    if isinstance(value, list):
        return all(isinstance(entry, str | int | float) for entry in value)
    return isinstance(value, str | int | float)


def session_of(model, threads: int = 0):
    """An onnxruntime session for a model, with so many threads; 0 leaves it to onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors alone
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_onnx(model, inputs: np.ndarray) -> np.ndarray:
    """N×classes float32 logits of N×1×32×32 float32 inputs, by onnxruntime."""
    session = session_of(model)
    batches = [inputs[i : i + BATCH_SIZE] for i in range(0, len(inputs), BATCH_SIZE)]
    return np.concatenate([session.run([OUTPUT], {INPUT: batch})[0] for batch in batches])
