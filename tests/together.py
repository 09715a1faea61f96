"""What several processes do for `tests/runtime/test_distributed.py`, started once for all its tests.

    torchrun --nproc-per-node=N tests/together.py FOLDER

Each process leaves FOLDER/N-RANK.pth: what it has in the end, by the names of the tests.
"""

import functools
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the scripts are modules of no package

import inference
import train
from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.evaluation import metrics
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime import distributed
from lenet5.runtime.errors import UserError
from lenet5.training import checkpoint, distillation, ema, epoch, epoch_plan, losses, training_pool
from model import LeNet5, build
from tests.conftest import ROOT, first_of

BATCH, IMAGES = 32, 131  # whose last batch has 3 images: with two processes 1 and 2, with three 1 each
SMALL_BATCH, FEW = 4, 9  # and whose last batch has one, so that some process has none


def noise(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of a network, and their labels, of which some are of no class."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 1, 32, 32, generator=generator)
    return inputs, torch.randint(losses.IGNORE_INDEX, 10, (count,), generator=generator)


def learned(count: int, batch_size: int, loss, teacher: bool = False) -> dict:
    """The weights, their average, the metrics and the order of an epoch."""
    torch.manual_seed(0)
    net, other = LeNet5(), build("lenet5-tanh")
    inputs, labels = noise(count)
    augmentation, targets = AUGMENTATIONS["affine"], None
    if teacher:
        targets = distillation.SoftTargets(other, inputs, augmentation, seed=3).of_epoch(1)
        labels = labels.clamp(min=0)
    pool = epoch_plan.TrainingPool(inputs, labels)
    plan = epoch_plan.EpochPlan(pool, augmentation, torch.Generator().manual_seed(5), targets)
    average = ema.EMA(net, 0.9)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    training = epoch.TrainingStep(net, optimizer, loss, after_step=lambda: average.add(net))
    _, tally = epoch.train_epoch(training, plan, batch_size)
    states = {"net": net.state_dict(), "average": average.net.state_dict()}
    return states | {"tally": tally.values, "order": plan.order}


def parts() -> dict:
    """What the functions under train.py and inference.py give."""
    torch.manual_seed(0)
    net = LeNet5()
    found = {
        "share": [distributed.shard(10, 10 + length) for length in range(8)],
        "first": distributed.broadcast(lambda: distributed.here.rank + 7),
        "all": distributed.all_gather(distributed.here.rank),
        "largest": distributed.all_max(-distributed.here.rank),
        "known classes": learned(IMAGES, BATCH, losses.outlier_exposure(0.1)),
        "a process without images": learned(FEW, SMALL_BATCH, losses.outlier_exposure()),
        "a teacher": learned(IMAGES, BATCH, losses.soft_cross_entropy(2.0), teacher=True),
    }
    for count in (1, 2, 500, 501):
        inputs, labels = noise(count)
        result = metrics.evaluate(net, inputs, labels.clamp(min=0), together=True)
        found[f"evaluation of {count}"] = {"logits": result.logits, "accuracy": result.accuracy}
    return found


@functools.cache  # each run asks for them
def few_images(name, folder):
    """The first images of MNIST; only the first process may ask for them."""
    assert distributed.is_first()
    return first_of(load_dataset(name, folder), 12_000, 2_000)


load_dataset = training_pool.load_dataset
TRAINING = ["--data-dir", str(ROOT / "data"), "--device", "cpu"]
STEPS = [*TRAINING, "--max-steps", "20"]
EPOCH = [*TRAINING, "--val-size", "2000", "--epochs", "1"]  # of 40 steps
DIGITS = [str(ROOT / "test_digits"), "missing.png", "--weights", str(ROOT / "pretrained" / "lenet5.pth")]
READING = [*DIGITS, "--device", "cpu", "--batch-size", "2"]  # eleven: with two processes 4, 4 and 3


def with_signal(flags: list[str]) -> int:
    """The status of a run whose last process alone gets SIGTERM in its fifth step."""

    def stop(step):
        if step == 5 and distributed.here.rank == distributed.count() - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with mock.patch.object(train, "on_step", stop):
        return train.main([*flags, "--output", "stopped.pth"])


def reading(flags: list[str]) -> dict:
    """The status of inference.py, and the names of the files that this process has read."""
    names, predict = [], ImageClassifier.predict_batch

    def predict_and_tell(classifier, paths, *prepared):
        names.extend(os.path.basename(path) for path in paths)
        return predict(classifier, paths, *prepared)

    with mock.patch.object(ImageClassifier, "predict_batch", predict_and_tell):
        return {"status": inference.main(flags), "names": names}


def whole_scripts() -> dict:
    """The exit statuses of train.py and inference.py, which write into this folder."""
    found = {"steps": train.main([*STEPS, "--output", "steps.pth"])}
    train.draw_training = lambda run: None  # the first has drawn
    return found | {
        "epoch": train.main([*EPOCH, "--output", "epoch.pth"]),
        "stopped": with_signal(STEPS),
        "reading": reading([*READING, "--output", "read.jsonl"]),
        "table": inference.main(READING),
    }


def fail_alone() -> int:
    """The status of a run that only this process cannot begin; the others find it gone."""
    first_weights = checkpoint.first_weights

    def no_weights(settings, classes):
        if not distributed.is_first():
            raise UserError("its disk is gone")
        return first_weights(settings, classes)

    with mock.patch.object(checkpoint, "first_weights", no_weights):
        return train.main(STEPS)


def main() -> int:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    count, rank = os.environ["WORLD_SIZE"], os.environ["RANK"]
    own = folder / f"{count}-processes"  # a digit alone would tell what pictures in it are of
    os.makedirs(own, exist_ok=True)
    os.chdir(own)
    training_pool.load_dataset = few_images
    found = distributed.under_torchrun(lambda argv: parts())()
    if count == "2":
        found |= whole_scripts()
    torch.save(found, folder / f"{count}-{rank}.pth")
    # After an error a process is to end, so that comes last.
    return fail_alone() if count == "2" else train.main([*TRAINING, "--recipe", "1998"])


if __name__ == "__main__":
    sys.exit(main())
