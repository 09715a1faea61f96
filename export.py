"""Take a trained network with you, into programs that know nothing of PyTorch.

    $ python export.py --onnx lenet5.onnx --int8 --npz lenet5.npz
    lenet5.onnx: 249,085 bytes; opset 13
      logits of 10,000 test images, up to 26: 8e-06 from PyTorch's
    lenet5-int8.onnx: 79,947 bytes; float32 has 249,085; 1,000 training images to calibrate
      held-out accuracy: 99.48 % in float32, 99.50 % in int8, of 5,000
      test accuracy: 99.58 % in float32, 99.58 % in int8, of 10,000
    lenet5.npz: 235,022 bytes; 10 arrays of weights

With pretrained/lenet5.pth, Python 3.11.7, torch 2.15.0, onnx 1.23.2 and onnxruntime 1.31.1
on an AMD EPYC. Weights are those of `--weights`, else those that inference.py would use.
An ONNX file is compared with PyTorch before it is written. What it needs is in
requirements-export.txt. The exit status is 0 if all that was asked for is written, 1 if
only a part of it is, 2 if nothing is.
"""

import sys

from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.signals import quiet_imports


@command_line
def main(argv=None) -> int:
    with quiet_imports():
        from lenet5.export.html_page import BESIDE
        from lenet5.export.writers import INT8, KEEP, Source, files_to_write, write_one
        from lenet5.networks.registry import NETWORKS
        from lenet5.networks.weights import load_weights
        from lenet5.reading.classifier import default_weights
    parser = ArgumentParser(
        prog="export.py",
        description="Take a trained network into other programs: one file for each flag.",
    )
    add = parser.add_argument
    add("--weights", metavar="FILE", help="(as inference.py: lenet5_model.pth, else pretrained/)")
    add("--arch", choices=list(NETWORKS), help="for weights that do not say what they are of")
    add("--html", metavar="FILE", help="a page to draw digits and numbers on, for any browser")
    add("--beside", nargs="+", metavar="WEIGHTS", help=f"other networks on the page {BESIDE}")
    add("--onnx", metavar="FILE", help="N×1×32×32 inputs to logits, for any program with ONNX")
    eight_bits = f"the same in whole numbers of eight bits ({INT8})"
    add("--int8", metavar="FILE", nargs="?", const=INT8, help=eight_bits)
    add("--npz", metavar="FILE", help="the weights for NumPy: examples/lenet5_numpy.py reads them")
    add("--prune", metavar="FILE", help="weights of which most are 0, trained on; a .pth as before")
    add("--keep", type=number(float, 0, 1), help=f"share of the parameters that --prune leaves ({KEEP})")
    add("--epochs", type=number(int, 1, 100_000), help="of the training of --prune (10)")
    add("--data-dir", metavar="DIR", default="data", help="where data sets are kept (data)")
    arguments = parser.parse_args(argv)
    weights = arguments.weights or default_weights()
    wanted = files_to_write(arguments, weights)
    source = Source(weights, *load_weights(weights, arguments.arch), arguments.data_dir)
    done = [write_one(name, path, source, arguments) for name, path in wanted.items()]
    return 0 if all(done) else 1 if any(done) else 2


if __name__ == "__main__":
    sys.exit(main())
