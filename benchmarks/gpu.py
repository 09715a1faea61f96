"""Training on a GPU: the time of ten epochs, the time to 99.0 %, and the textbook loop beside it.

    python benchmarks/gpu.py                    # a few minutes, on a machine with CUDA
    python benchmarks/gpu.py --batch-size 512 --lr 0.012 --optimizer adam
    python benchmarks/gpu.py --table            # print what was measured

The images lie on the card, and a step is recorded once (cuda_graph.py). What that and the
first epochs of a process take (loading libraries, choosing kernels) is the warm-up and is
told apart; then five networks are trained from the seeds 0 to 4, each evaluated after every
epoch. Training is timed from its first step to its last, without the evaluations.
"""

import itertools
import json
import math
import subprocess
import sys
import time
from statistics import mean, median

from common import ROOT, load, machine, save, spread  # sets the path for what follows
from side_by_side import time_to_accuracy

from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError

SEEDS = (0, 1, 2, 3, 4)
EPOCHS = 10


def make_parser() -> ArgumentParser:
    from lenet5.data.augmentation import AUGMENTATIONS
    from lenet5.training.recipes import RECIPES

    default = RECIPES["default"]
    parser = ArgumentParser(prog="benchmarks/gpu.py", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--batch-size", type=number(int, 1, 60_000), default=default["batch_size"])
    add("--lr", type=number(float, 1e-9, 1e6), default=default["lr"])
    add("--optimizer", choices=("adam", "adamw", "sgd", "muon"), default=default["optimizer"])
    augmentations = [name for name in AUGMENTATIONS if not name.startswith("pens")]
    add("--augment", choices=augmentations, default=default["augment"])
    add("--epochs", type=number(int, 1, 1000), default=EPOCHS)
    add("--table", action="store_true", help="measure nothing, print what was measured")
    return parser


class Training:
    """A network on the card that can be trained again from other first weights."""

    def __init__(self, mnist, device, options):
        import torch
        from cuda_graph import CudaGraphStep

        from lenet5.data.augmentation import AUGMENTATIONS
        from lenet5.imaging.inputs import to_input
        from lenet5.training.optimizers import make_optimizer
        from model import LeNet5

        self.options, self.device = options, device
        self.net = LeNet5().to(device)
        self.inputs, self.test = (
            to_input(images.to(device), self.net.mean, self.net.std)
            for images in (mnist.train_images, mnist.test_images)
        )
        self.labels, self.truth = mnist.train_labels.to(device), mnist.test_labels.to(device)
        self.optimizer = make_optimizer(self.net, options.optimizer, options.lr)
        self.training = CudaGraphStep(self.net, self.optimizer, options.batch_size)
        self.augmentation, self.generator = AUGMENTATIONS[options.augment], torch.Generator()

    def begin(self, seed: int) -> None:
        """The first weights of a seed, in the tensors that the recording knows."""
        import torch

        torch.manual_seed(seed)
        self.generator.manual_seed(seed)
        self.net.load_state_dict(type(self.net)().state_dict())
        for values in self.optimizer.state.values():
            for tensor in values.values():
                tensor.zero_()

    def run(self, seed: int, epochs: int) -> list[dict]:
        """Seconds of training and the test accuracy after each epoch."""
        import torch

        from lenet5.evaluation.metrics import evaluate
        from lenet5.training.epoch import train_epoch
        from lenet5.training.epoch_plan import EpochPlan, TrainingPool
        from lenet5.training.optimizers import set_rate
        from lenet5.training.schedules import SCHEDULES

        self.begin(seed)
        batch_size, schedule = self.options.batch_size, SCHEDULES["onecycle"]
        total, rows = epochs * math.ceil(len(self.inputs) / batch_size), []
        count = itertools.count()

        def before_step(step: int) -> bool:
            set_rate(self.optimizer, self.options.lr * schedule(next(count) / total))
            return True

        for _ in range(epochs):
            torch.cuda.synchronize()
            start = time.perf_counter()
            plan = EpochPlan(TrainingPool(self.inputs, self.labels), self.augmentation, self.generator)
            self.training.begin(plan)
            train_epoch(self.training, plan, batch_size, before_step=before_step)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            rows.append(
                {"seconds": seconds, "accuracy": evaluate(self.net, self.test, self.truth).accuracy}
            )
        return rows


def textbook_epoch() -> float:
    """Seconds of the second epoch of the textbook loop on the same card, without workers."""
    script = ROOT / "benchmarks" / "contestants" / "textbook.py"
    flags = ["--data", str(ROOT / "data"), "--epochs", "2", "--device", "cuda", "--json"]
    done = subprocess.run([sys.executable, str(script), *flags], capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["epochs"][1]["seconds"]


def measure(options) -> dict:
    import torch

    from lenet5.data.datasets import load_mnist

    if not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device, and nothing is measured")
    device, mnist = torch.device("cuda"), load_mnist(ROOT / "data")
    start = time.perf_counter()
    training = Training(mnist, device, options)
    training.run(0, 1)
    results = {
        "machine": machine() | {"card": torch.cuda.get_device_name(), "date": time.strftime("%Y-%m-%d")},
        "settings": {name: value for name, value in vars(options).items() if name != "table"},
        "warm_up_seconds": time.perf_counter() - start,
        "textbook_seconds": textbook_epoch(),
        "rows": [{"seed": seed, "epochs": training.run(seed, options.epochs)} for seed in SEEDS],
    }
    save("gpu", results)
    return results


def print_table(results: dict) -> None:
    if not results["rows"]:
        print("not measured: no machine with CUDA was to be had")
        return
    runs = [row["epochs"] for row in results["rows"]]
    whole = [sum(epoch["seconds"] for epoch in run) for run in runs]
    each = median(epoch["seconds"] for run in runs for epoch in run)
    textbook = results["textbook_seconds"]
    reached = [seconds for run in runs if (seconds := time_to_accuracy(run, 0.99)) is not None]
    until = f"{mean(reached):.2f} s, " if reached else ""
    print(f"{results['machine']['card']}, {results['machine']['date']}, {results['settings']}")
    print(f"warm-up          {results['warm_up_seconds']:.1f} s")
    print(f"{len(runs[0]):2} epochs        {mean(whole):.2f} s ({min(whole):.2f} to {max(whole):.2f})")
    print(f"test accuracy    {spread([run[-1]['accuracy'] for run in runs])}")
    print(f"to 99.0 %        {until}{len(reached)} of {len(runs)} seeds")
    print(f"textbook, epoch  {textbook:.1f} s, {textbook / each:.0f} times as long as ours")


@command_line
def main(argv=None) -> int:
    options = make_parser().parse_args(argv)
    print_table(load("gpu") if options.table else measure(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
