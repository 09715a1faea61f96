"""Ours beside the textbook loop: the whole default run, and an evaluation, in one session.

    python benchmarks/textbook.py            # about 12 minutes on 2 cores
    python benchmarks/textbook.py --table    # print what was measured

The textbook loop is the one of most tutorials: DataLoader, torchvision's
transforms for each picture in each epoch, batch 64, Adam at 1e-3, one item() a
step, ten epochs, the test set after each. It and `python train.py` with no
flags take turns, each as a process of its own, start-up included.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import ROOT, load, median_and_range, save

REPEATS = 3
TEXTBOOK = """
import sys, time
import torch, torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

transform = transforms.Compose(
    [transforms.Pad(2), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
)
train = DataLoader(datasets.MNIST(sys.argv[1], True, transform), 64, shuffle=True)
test = DataLoader(datasets.MNIST(sys.argv[1], False, transform), 1000)
net = nn.Sequential(
    nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
evaluation = []
for epoch in range(10):
    net.train()
    total = 0.0
    for images, labels in train:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    net.eval()
    start = time.perf_counter()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == y).sum().item() for x, y in test)
    evaluation.append(time.perf_counter() - start)
print(hits / 10000, sorted(evaluation)[5])
"""
OURS_EVALUATION = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from dataset import load_mnist
from evaluate import evaluate
from model import LeNet5
from preprocess import to_input
images = load_mnist(sys.argv[2])
net = LeNet5()
seconds = []
for _ in range(11):
    start = time.perf_counter()
    evaluate(net, to_input(images.test_images, net.mean, net.std), images.test_labels)
    seconds.append(time.perf_counter() - start)
print(sorted(seconds)[5])
"""


def timed(command: list[str], folder: str) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def measure() -> dict:
    """One textbook run, one of ours, one evaluation of ours."""
    data = str(ROOT / "data")
    with tempfile.TemporaryDirectory() as folder:
        textbook, output = timed([sys.executable, "-c", TEXTBOOK, data], folder)
        accuracy, evaluation = map(float, output.split())
        ours, output = timed([sys.executable, str(ROOT / "train.py"), "--data-dir", data], folder)
        line = next(line for line in output.splitlines() if line.startswith("test accuracy"))
        _, words = timed([sys.executable, "-c", OURS_EVALUATION, str(ROOT), data], folder)
    return {
        "textbook_seconds": textbook,
        "textbook_accuracy": accuracy,
        "textbook_evaluation_seconds": evaluation,
        "ours_seconds": ours,
        "ours_accuracy": float(line.split()[2]) / 100,
        "ours_evaluation_seconds": float(words),
    }


def main() -> int:
    results = load(Path(__file__).stem)
    if "--table" not in sys.argv:
        while len(results["rows"]) < REPEATS:
            results["rows"].append(measure())
            save(Path(__file__).stem, results)
    for what in ("seconds", "evaluation_seconds"):
        theirs, ours = (
            [row[f"{who}_{what}"] for row in results["rows"]] for who in ("textbook", "ours")
        )
        ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
        print(
            f"{what:19} textbook {median(theirs):7.2f}  ours {median(ours):6.2f}"
            f"  ratio {median_and_range(ratios)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
