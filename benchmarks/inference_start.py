"""How long until the ten digits are read, what one picture in memory takes, and how many a second.

    python benchmarks/inference_start.py            # two minutes on two idle cores
    python benchmarks/inference_start.py --table    # print what was measured

From start to end: `python -c "import torch"`, `python inference.py` with the shipped
weights and with what export.py writes of them take turns, each as a process of its own, on
the ten digits of test_digits/; what comes before the first turn is to bring the programs
into memory. In memory: pictures of 28×28 bytes to probabilities, by
`ImageClassifier.probabilities`, one of them and MNIST's 10,000 test images, with PyTorch on
as many threads as it takes by itself and with onnxruntime on one. Beside them stands what
the machine could do: its rate of multiplications in a product of two matrices, over those
that the network has for a picture.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import ROOT, flags, load, machine, median_and_range, save

TURNS, MEMORY_TURNS = 9, 15  # after a first turn, which brings the programs into memory
ONE = 300  # calls with one picture in a turn
SIDE = 2048  # of the matrices whose product tells what the machine can do
WEIGHTS = ROOT / "pretrained" / "lenet5.pth"


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=True)
    return time.perf_counter() - start


def measure_starts(exported: Path) -> list[dict]:
    """Seconds of each command, a row a turn."""
    inference = [str(ROOT / "inference.py"), str(ROOT / "test_digits"), "--weights"]
    commands = {
        "import torch": ["-c", "import torch"],
        "inference.py": [*inference, str(WEIGHTS)],
        "exported": [*inference, str(exported)],
    }
    rows = [{name: seconds(words) for name, words in commands.items()} for _ in range(1 + TURNS)]
    return rows[1:]


def rate(work, pictures: int, calls: int = 1) -> float:
    """Pictures a second, over so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return pictures * calls / (time.perf_counter() - start)


def measure_memory(exported: Path) -> list[dict]:
    """Pictures a second of each network, one by one and 10,000 at once, a row a turn."""
    import torch

    from lenet5.data.datasets import load_mnist
    from lenet5.reading.classifier import ImageClassifier
    from model import count_multiply_adds

    images = load_mnist(ROOT / "data").test_images.numpy()
    reader, other = ImageClassifier(WEIGHTS, device="cpu"), ImageClassifier(exported)
    work = count_multiply_adds(reader.net)
    factor = torch.randn(SIDE, SIDE)
    rows = [
        {
            "limit": rate(lambda: factor @ factor, SIDE**3) / work,
            "inference.py, one": rate(lambda: reader.probabilities(images[:1]), 1, ONE),
            "inference.py, many": rate(lambda: reader.probabilities(images), len(images)),
            "exported, one": rate(lambda: other.probabilities(images[:1]), 1, ONE),
            "exported, many": rate(lambda: other.probabilities(images), len(images)),
        }
        for _ in range(1 + MEMORY_TURNS)
    ]
    return rows[1:]


def measure() -> dict:
    import onnxruntime
    import torch

    from lenet5.export.onnx_graph import onnx_model
    from lenet5.networks.weights import load_weights

    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, "lenet5.onnx")
        model = onnx_model(*load_weights(WEIGHTS))
        exported.write_bytes(model.SerializeToString(deterministic=True))
        starts, memory = measure_starts(exported), measure_memory(exported)
    versions = {"onnxruntime": onnxruntime.__version__, "threads": torch.get_num_threads()}
    return {"machine": machine() | versions, "rows": starts, "memory": memory}


def main() -> int:
    given = flags(__doc__, "--table")
    results = load(Path(__file__).stem)
    if "--table" not in given:
        results = measure()
        save(Path(__file__).stem, results)
    rows, memory = results["rows"], results["memory"]
    print("| from start to end, ten digits | seconds | beside `import torch` |")
    print("|---|---|---|")
    for name, words in (
        ("import torch", '`python -c "import torch"`'),
        ("inference.py", "`python inference.py`"),
        ("exported", "`python inference.py --weights lenet5.onnx`"),
    ):
        times = median_and_range([row[name] for row in rows])
        ratios = median_and_range([row[name] / row["import torch"] for row in rows])
        print(f"| {words} | {times} | {ratios} |")
    print("\n| in memory | one picture, microseconds | pictures a second, of 10,000 | of the limit |")
    print("|---|---|---|---|")
    for name, words in (("inference.py", "PyTorch"), ("exported", "onnxruntime, one thread")):
        one = median_and_range([1e6 / row[f"{name}, one"] for row in memory])
        many = median(row[f"{name}, many"] for row in memory)
        share = median_and_range([row[f"{name}, many"] / row["limit"] for row in memory])
        print(f"| {words} | {one} | {many:,.0f} | {share} |")
    print(f"| the limit | | {median(row['limit'] for row in memory):,.0f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
