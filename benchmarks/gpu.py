"""Training on a GPU: the time of ten epochs, the time to 99.0 %, and the textbook loop beside it.

    python benchmarks/gpu.py            # a few minutes, on a machine with CUDA
    python benchmarks/gpu.py --table    # print what was measured

The default recipe with its images on the card and its step recorded once (cuda_graph.py).
That and the first epochs of a process (loading libraries, choosing kernels) are the warm-up,
which has a line of its own. Then five networks are trained from the seeds 0 to 4, each
evaluated after every epoch. Training is timed from its first step to its last, without the
evaluations.
"""

import itertools
import json
import math
import subprocess
import sys
import time
from statistics import mean, median

import torch
from common import ROOT, load, machine, make_parser, save, spread  # sets the path for what follows
from cuda_graph import CudaGraphStep
from side_by_side import time_to_accuracy

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import load_mnist
from lenet5.evaluation.metrics import evaluate
from lenet5.imaging.inputs import to_input
from lenet5.runtime.cli import command_line
from lenet5.runtime.errors import UserError
from lenet5.training.epoch import train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.optimizers import make_optimizer, set_rate
from lenet5.training.recipes import RECIPES
from lenet5.training.schedules import SCHEDULES
from model import LeNet5

SEEDS = (0, 1, 2, 3, 4)
RECIPE = RECIPES["default"]


class Training:
    """A network on the card that can be trained again from other first weights."""

    def __init__(self, mnist, device: torch.device):
        self.net = LeNet5().to(device)
        inputs, self.test = (
            to_input(images.to(device), self.net.mean, self.net.std)
            for images in (mnist.train_images, mnist.test_images)
        )
        self.pool = TrainingPool(inputs, mnist.train_labels.to(device))
        self.truth = mnist.test_labels.to(device)
        self.optimizer = make_optimizer(self.net, RECIPE["optimizer"], RECIPE["lr"])
        self.training = CudaGraphStep(self.net, self.optimizer, RECIPE["batch_size"])
        self.generator = torch.Generator()

    def begin(self, seed: int) -> None:
        """The first weights of a seed, in the tensors that the recording knows."""
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)
        self.net.load_state_dict(LeNet5().state_dict())
        for values in self.optimizer.state.values():
            for tensor in values.values():
                tensor.zero_()

    def run(self, seed: int, epochs: int) -> list[dict]:
        """Seconds of training and the test accuracy after each epoch."""
        self.begin(seed)
        batch_size, schedule = RECIPE["batch_size"], SCHEDULES[RECIPE["scheduler"]]
        total, rows = epochs * math.ceil(len(self.pool.inputs) / batch_size), []
        count = itertools.count()

        def before_step(step: int) -> bool:
            set_rate(self.optimizer, RECIPE["lr"] * schedule(next(count) / total))
            return True

        for _ in range(epochs):
            torch.cuda.synchronize()
            start = time.perf_counter()
            plan = EpochPlan(self.pool, AUGMENTATIONS[RECIPE["augment"]], self.generator)
            self.training.begin(plan)
            train_epoch(self.training, plan, batch_size, before_step=before_step)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            accuracy = evaluate(self.net, self.test, self.truth).accuracy
            rows.append({"seconds": seconds, "accuracy": accuracy})
        return rows


def textbook_epoch() -> float:
    """Seconds of the second epoch of the textbook loop on the same card, without workers."""
    script = ROOT / "benchmarks" / "contestants" / "textbook.py"
    flags = ["--data", str(ROOT / "data"), "--epochs", "2", "--device", "cuda", "--json"]
    done = subprocess.run([sys.executable, str(script), *flags], capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["epochs"][1]["seconds"]


def measure() -> dict:
    if not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device, and nothing is measured")
    mnist = load_mnist(ROOT / "data")
    start = time.perf_counter()
    training = Training(mnist, torch.device("cuda"))
    training.run(0, 1)
    warm_up = time.perf_counter() - start
    card = {"card": torch.cuda.get_device_name(), "date": time.strftime("%Y-%m-%d")}
    results = {"machine": machine() | card, "settings": RECIPE, "warm_up_seconds": warm_up}
    results["textbook_seconds"] = textbook_epoch()
    results["rows"] = [{"seed": seed, "epochs": training.run(seed, RECIPE["epochs"])} for seed in SEEDS]
    save("gpu", results)
    return results


def print_table(results: dict) -> None:
    if not results["rows"]:
        print("not measured: no machine with CUDA was available")
        return
    runs = [row["epochs"] for row in results["rows"]]
    whole = [sum(epoch["seconds"] for epoch in run) for run in runs]
    each = median(epoch["seconds"] for run in runs for epoch in run)
    textbook = results["textbook_seconds"]
    times = [time_to_accuracy(run, 0.99) for run in runs]
    reached = [seconds for seconds in times if seconds is not None]
    until = f"{mean(reached):.2f} s, " if reached else ""
    print(f"{results['machine']['card']}, {results['machine']['date']}")
    print(f"warm-up          {results['warm_up_seconds']:.1f} s")
    print(f"{len(runs[0]):2} epochs        {mean(whole):.2f} s ({min(whole):.2f} to {max(whole):.2f})")
    print(f"test accuracy    {spread([run[-1]['accuracy'] for run in runs])}")
    print(f"to 99.0 %        {until}{len(reached)} of {len(runs)} seeds")
    print(f"textbook, epoch  {textbook:.1f} s, {textbook / each:.0f} times as long as ours")


@command_line
def main(argv=None) -> int:
    options = make_parser(__doc__).parse_args(argv)
    print_table(load("gpu") if options.table else measure())
    return 0


if __name__ == "__main__":
    sys.exit(main())
