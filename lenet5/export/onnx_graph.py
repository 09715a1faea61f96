"""A network as an ONNX graph, in one file that needs neither PyTorch nor this project.

    >>> net, metadata = load_weights("lenet5_model.pth")
    >>> model = onnx_model(net, metadata)
    >>> run_onnx(model, inputs).shape
    (10000, 10)

The graph is built from the description in `lenet5/networks/operations.py`, so that its
states have the names of the paper's layers. The weights' metadata (network, mean, std,
classes, temperature …) goes into the file's, text as it is and all else as JSON: enough to
bring a picture to the input and to name the answer.

onnx and onnxruntime are in requirements-export.txt.
"""

import json
from typing import Any

import numpy as np
from torch import nn

from lenet5.networks.lenet1998 import AMPLITUDE, STEEPNESS
from lenet5.networks.operations import Operation, operations
from lenet5.reading.onnx_backend import INPUT, OUTPUT
from lenet5.runtime.errors import one_line
from lenet5.whole_numbers.windows import CLASSES

# Opset 13, of 2020, is the first that quantises the weights of each map by themselves.
OPSET, IR_VERSION = 13, 7
ABOUT = (
    "N×1×32×32 pictures to N×classes logits, of which the largest wins. The input is "
    "(pixel / 255 - mean) / std, with the ink bright and MNIST's 28×28 in the middle of 32×32; "
    "mean, std, classes and temperature are in the metadata."
)
ABOUT_STRIPS = (
    "N×1×32×W strips of numbers, W a multiple of 4, to N×T×11 logits of windows of 32 pixels that begin "
    "at every second one: ten digits, and between digits. The input is (pixel / 255 - mean) / std, with "
    "the ink bright and half a window of background at both ends; mean, std, classes and temperature "
    "are in the metadata."
)
BATCH_SIZE = 500
# Operations by the names that they have in the names of a file's nodes and numbers.
NAMES_IN_FILE = {
    "max_pool": "largest",
    "avg_pool": "mean",
    "global_avg_pool": "mean-of-map",
    "scaled_tanh": "squash",
    "linear": "full",
    "rbf": "distance",
}
# Beyond it tanh is 1 in float32, and OpenCV's is not a number.
SATURATED = np.float32(10)
POOLING = {"kernel_shape": [2, 2], "strides": [2, 2]}
# Operations that are a node without numbers: its type and attributes.
NODES: dict[str, tuple[str, dict]] = {
    "max_pool": ("MaxPool", POOLING),
    "avg_pool": ("AveragePool", POOLING),
    "global_avg_pool": ("GlobalAveragePool", {}),  # N×maps×1×1
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
}


class Graph:
    """The nodes of an ONNX graph, one after the other, and the numbers that they need."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.numbers: list = []
        self.last, self.is_flat = INPUT, False

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


def add_operation(graph: Graph, operation: Operation, inner: str, name: str) -> None:
    """An operation as nodes, of which the last has a `name` and the others begin with `inner`."""
    kind, weight, bias, amount = operation

    def number(what: str, value) -> str:
        return graph.number(f"{inner}.{what}", np.asarray(value))

    if kind in NODES:
        node, attributes = NODES[kind]
        graph.add(node, name=name, **attributes)
    elif kind == "crop":
        places = [number("from", [amount] * 2), number("to", [-amount] * 2), number("axes", [2, 3])]
        graph.add("Slice", *places, name=name)
    elif kind == "scaled_tanh":
        graph.add("Mul", number("steepness", np.float32(STEEPNESS)), name=f"{inner}.argument")
        graph.add("Clip", number("least", -SATURATED), number("most", SATURATED), name=f"{inner}.clip")
        graph.add("Tanh", name=f"{inner}.tanh")
        graph.add("Mul", number("amplitude", np.float32(AMPLITUDE)), name=name)
    elif weight is None:
        raise ValueError(f"no operation is called {kind}")
    elif kind == "convolution":
        numbers = [number("weight", weight), number("bias", bias)]
        graph.add("Conv", *numbers, name=name, pads=[amount] * 4, kernel_shape=weight.shape[2:])
    elif kind == "linear":
        graph.flatten(f"{inner}.flat")
        graph.add("Gemm", number("weight", weight), number("bias", bias), name=name, transB=1)
    elif kind == "rbf":
        graph.flatten(f"{inner}.flat")
        graph.add("Unsqueeze", number("axis", [1]), name=f"{inner}.to.each")
        graph.add("Sub", number("weight", weight), name=f"{inner}.difference")
        graph.add("Mul", graph.last, name=f"{inner}.square")
        graph.add("ReduceSum", number("units", [2]), name=f"{inner}.sum", keepdims=0)
        graph.add("Neg", name=name)
    else:  # "scale"
        graph.add("Mul", number("weight", weight[:, None, None]), name=f"{inner}.times")
        graph.add("Add", number("bias", np.asarray(bias)[:, None, None]), name=name)


def onnx_model(net: nn.Module, metadata: dict):
    """A network of the family as an onnx.ModelProto, which onnx's own checker has passed.

    That of numbers runs over a strip of any width (`space_displacement.row_of_answers`).
    """
    from onnx import TensorProto, helper

    graph = Graph()
    if metadata["classes"] == CLASSES:
        add_strip_network(graph, net)
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, shape in ((INPUT, (1, 32, "width")), (OUTPUT, ("windows", len(CLASSES))))
        ]
        return checked_model(graph, ends, ABOUT_STRIPS, metadata)
    for layer, steps in operations(net).items():
        for step in steps:
            inner = f"{layer}.{NAMES_IN_FILE.get(step.kind, step.kind)}"
            whole = OUTPUT if layer == "output" else layer
            add_operation(graph, step, inner, whole if step is steps[-1] else inner)
    # "batch" stands for any number of pictures.
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in ((INPUT, (1, 32, 32)), (OUTPUT, (len(metadata["classes"]),)))
    ]
    return checked_model(graph, ends, ABOUT, metadata)


def add_strip_network(graph: Graph, net: Any) -> None:
    """The network of numbers: S4 moves by one column, and C5 takes every second one."""

    def convolve(layer, name: str, **attributes) -> None:
        numbers = [
            graph.number(f"{name}.{part}", value.detach().numpy())
            for part, value in (("weight", layer.weight), ("bias", layer.bias))
        ]
        graph.add("Conv", *numbers, name=name, **attributes)

    def multiply(layer, name: str) -> None:
        weight = graph.number(f"{name}.weight", layer.weight.detach().numpy().T)
        graph.add("MatMul", weight, name=f"{name}.product")
        graph.add("Add", graph.number(f"{name}.bias", layer.bias.detach().numpy()), name=name)

    convolve(net.c1, "c1")
    graph.add("MaxPool", name="s2.largest", **POOLING)
    graph.add("Relu", name="s2")
    convolve(net.c3, "c3")
    graph.add("MaxPool", name="s4.largest", kernel_shape=[2, 2], strides=[2, 1])
    graph.add("Relu", name="s4")
    convolve(net.c5, "c5.sum", dilations=[1, 2])
    graph.add("Relu", name="c5")  # N×120×1×T
    graph.add("Squeeze", graph.number("c5.height", np.array([2])), name="c5.units")
    graph.add("Transpose", name="c5.windows", perm=[0, 2, 1])
    multiply(net.f6, "f6.sum")
    graph.add("Relu", name="f6")
    multiply(net.output, OUTPUT)


def checked_model(graph: Graph, ends: list, about: str, metadata: dict):
    """A graph with its input and output as an onnx.ModelProto, which onnx's own checker has passed."""
    import onnx
    from onnx import helper

    model = helper.make_model(
        helper.make_graph(graph.nodes, metadata["arch"], ends[:1], ends[1:], graph.numbers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="export.py of LeNet-5",
        doc_string=about,
    )
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    describe(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(model, metadata: dict) -> None:
    """Write into a model what the weights say of themselves: plain numbers, text and lists."""
    from onnx import helper

    told = {}
    for name, value in metadata.items():
        entries = value if isinstance(value, list) else [value]
        if all(isinstance(entry, str | int | float) for entry in entries):  # a file may hold anything
            told[one_line(name)] = one_line(value) if isinstance(value, str) else json.dumps(value)
    helper.set_model_props(model, told)


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
    logits = np.concatenate([session.run([OUTPUT], {INPUT: batch})[0] for batch in batches])
    return logits.reshape(len(logits), -1)  # of one window, if the network runs over strips
