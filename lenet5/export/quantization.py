"""Static quantisation to eight bits."""

import logging
import os
import tempfile
import warnings

import numpy as np

from lenet5.export.onnx_graph import BATCH_SIZE
from lenet5.reading.onnx_backend import INPUT

HEAVY = 0.1  # share of all weights from which on a layer is worth quantising


class Pictures:
    """Network inputs in the form in which onnxruntime's quantiser asks for them."""

    def __init__(self, inputs: np.ndarray):
        self.batches = iter([inputs[i : i + BATCH_SIZE] for i in range(0, len(inputs), BATCH_SIZE)])

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}


def quantised(model, inputs: np.ndarray, **changes):
    """A model that computes with numbers of eight bits, calibrated on N×1×32×32 inputs.

    Static quantisation: the range of each state is measured once, on `inputs`, and each
    weight and state becomes a whole number of steps. The graph keeps its operations, with
    QuantizeLinear and DequantizeLinear around them (QDQ).

    Only layers with a good share of the weights are quantised. Of `lenet5` these are C5
    and F6: C1 and C3 have 4 % of the weights and most of the work, and onnxruntime takes
    2.5 times as long for it in whole numbers.

    Weights have seven bits (reduce_range): processors before VNNI add two products of
    eight bits in sixteen, which overflows. Without it `lenet5-tanh` lost 2.8 points of
    accuracy on an AMD EPYC with AVX2, and nothing with it (benchmarks/exported_files.py --choices,
    which tries other `changes` of the options too).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    options = {
        "nodes_to_quantize": heavy_nodes(model),
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "reduce_range": True,
    } | changes
    logging.disable(logging.WARNING)  # of onnxruntime, which advises a preparation that is not needed
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # From file to file, since the quantiser takes the numbers out of a model that it is given.
            whole, small = (os.path.join(folder, name) for name in ("whole.onnx", "small.onnx"))
            onnx.save(model, whole)
            quantize_static(whole, small, Pictures(inputs), **options)
            result = onnx.load(small)
    finally:
        logging.disable(logging.NOTSET)
    onnx.checker.check_model(result, full_check=True)
    return result


def heavy_nodes(model) -> list[str]:
    """The convolutions and full connections with a share of `HEAVY` of all weights at least."""
    sizes = {numbers.name: int(np.prod(numbers.dims)) for numbers in model.graph.initializer}
    weights = {n.name: sizes[n.input[1]] for n in model.graph.node if n.op_type in ("Conv", "Gemm")}
    return [name for name, size in weights.items() if size >= HEAVY * sum(weights.values())]
