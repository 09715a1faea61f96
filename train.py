"""Train LeNet-5 on MNIST.

    $ python train.py
    lenet5: 61,706 parameters, on cpu
    images: 55,000 to train on, 5,000 to validate, 10,000 to test
    epoch  1/10  loss 0.7936  train 75.09%  val 95.62%  test 96.26%  lr 4e-03  5.2s
    ...
    epoch 10/10  loss 0.0218  train 99.30%  val 99.06%  test 99.26%  lr 8e-08  5.1s
    kept epoch         9, by validation accuracy
    test accuracy      99.21 % of 10,000 images
    training accuracy  99.50 % of 55,000 images

That is seed 0 on two cores of an AMD EPYC with Python 3.11.7 and torch 2.15.0.
Over the seeds 0 to 4 the test accuracy is 99.24 ± 0.09 % (mean and deviation;
python benchmarks/default_run.py). In an epoch's line, `train` is the accuracy on
the distorted images while they were learned.

A run leaves runs/<name>/ with config.json, metrics.csv and checkpoint.pth; Ctrl-C
saves, and `--resume` goes on where a run was stopped, to the bit if the machine,
the versions and the number of threads are the same.
"""

from files import end_quietly

if __name__ == "__main__":
    end_quietly()  # on Ctrl-C, until main() looks after it: the imports take a second

import contextlib
import copy
import csv
import functools
import io
import json
import math
import os
import platform
import reprlib
import sys
import time
import warnings
from pathlib import Path
from types import NoneType

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from dataset import (
    AUGMENTATIONS,
    DATASETS,
    LARGEST_FONTS,
    check_dataset,
    in_few_pixels,
    load_dataset,
    load_font_digits,
    split,
)
from epoch import (
    NO_CLASS,
    OPTIMIZERS,
    SCHEDULES,
    Average,
    EpochPlan,
    Lessons,
    Tally,
    epoch_size,
    make_optimizer,
    outlier_exposure,
    random_order,
    soft_cross_entropy,
    train_epoch,
)
from evaluate import Evaluation, evaluate, fit_temperature, loss_function, rejection_limits
from files import (
    STOP_STATUS,
    ArgumentParser,
    Stopped,
    UserError,
    check_writable,
    command_line,
    handling_signals,
    make_folder,
    make_folder_with,
    md5,
    number,
    read_file,
    read_json,
    reason,
    say,
    user_error,
    write_file,
)
from lenet1998 import LeNet1998
from model import (
    INITIALISATIONS,
    LARGEST_WEIGHTS,
    NETWORKS,
    build,
    check_metadata,
    count_parameters,
    load_weights,
    pick_device,
    save_weights,
    table_of_networks,
    to_bytes,
    unpickled,
    weights_with_metadata,
)
from preprocess import to_input
from sources import ImageSet

RUNS = "runs"
PARTS = ("train", "val", "test")
COMPARISON_PLOT = "runs_comparison.png"
COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "lr",
    "seconds",
)
SMALLEST_EPOCH = 5000  # images; of fewer pictures each is shown more than once
LEAST_TO_CALIBRATE = 500  # validation images
VAL_SHARE = 6  # of a small data set, every sixth image at most is held out
BESIDE = 20  # for every 20 images an epoch shows a digit in few pixels, a scribble, a shape, a pair
DRAWN = 3  # times as many of each are drawn
FONT_COPIES = 2  # how often an epoch shows each digit of --fonts
DRY_STEPS, DRY_EPOCHS, DRY_IMAGES = 5, 2, 1000  # what --dry-run leaves of a run
LARGEST_CHECKPOINT = 1 << 30  # bytes

# A recipe is a named set of defaults; a flag on the command line wins.
RECIPES = {
    "default": {
        "arch": "lenet5",
        "dataset": "mnist",
        "data_dir": "data",
        "epochs": 10,
        "batch_size": 256,
        "lr": 8e-3,
        "optimizer": "adam",
        "scheduler": "onecycle",
        "augment": "affine",
        "fonts": None,
        "few_pixels": None,
        "non_digits": None,
        "val_size": 5000,
        "seed": 0,
        "device": "auto",
        "init": None,
        "init_from": None,
        "teacher": None,
        "temperature": None,
        "average": None,
        "weight_decay": None,
        "label_smoothing": None,
        "output": "lenet5_model.pth",
        "plot": "training_results.png",
        "max_steps": None,
        "dry_run": False,
    },
}
RECIPES |= {
    # Seed document 003's epochs and batches. Its constant rate of 0.001 ends lower and
    # jumps by half a point from epoch to epoch: table in benchmarks/README.md.
    "lenet-gap": {
        "arch": "lenet-gap",
        "epochs": 30,
        "batch_size": 64,
        "lr": 2e-3,
        "scheduler": "cosine",
        "augment": "none",
    },
    # A few own pictures with --init-from: little enough that the old ones are not forgotten.
    "fine-tune": {"lr": 5e-4, "scheduler": "cosine"},
    # Section III of the paper: 20 passes, one pattern at a time, no image held out.
    "1998": {
        "arch": "lenet5-1998",
        "epochs": 20,
        "batch_size": 100,  # learned one by one
        "lr": 1e-4,  # a fifth of the paper's: see DiagonalLevenbergMarquardt
        "optimizer": "sdlm",
        "scheduler": "1998",
        "augment": "none",
        "val_size": 0,
    },
}
RECIPES |= {
    # A larger network for --teacher to name.
    "teacher": {
        "arch": "teacher",
        "epochs": 25,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "elastic",
        "average": 0.999,
        "val_size": 10_000,
        "output": "teacher.pth",
    },
    # Reads anybody's digit, and knows what is none: benchmarks/choose_anybody.py has what was tried.
    "anybody": {
        "epochs": 120,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "pens",
        "average": 0.999,
        "fonts": "fonts/digits.npz",
        "few_pixels": True,
        "non_digits": True,
    },
    # The most that lenet5 can do: benchmarks/README.md has what was tried.
    "record": {
        "teacher": "pretrained/teacher.pth",
        "epochs": 100,
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "augment": "elastic-mild",
        "average": 0.999,
        "val_size": 0,
    },
}
RECIPES["1998-distorted"] = {**RECIPES["1998"], "augment": "1998"}


# ---------------------------------------------------------------- a run and its folder


class Data:
    """The images of a run as network inputs on its device, each part with its labels.

    `train`, `val` and `test` are of the data set; `shown` is what an epoch goes
    through: the training images and what else there is to learn.
    """

    def __init__(self, settings: dict, device: torch.device):
        images = with_classes_of(
            settings["init_from"], load_dataset(settings["dataset"], settings["data_dir"])
        )
        self.md5 = None if settings["dataset"] in DATASETS else fingerprint(images)
        network = NETWORKS[settings["arch"]]
        size = validation_size(settings, len(images.train_labels))
        is_small = size < settings["val_size"]
        train, val = split(images.train_labels, size, settings["seed"], of_each=1 if is_small else 0)
        test = torch.arange(len(images.test_labels))
        if settings["dry_run"]:
            train = train[: DRY_STEPS * settings["batch_size"]]
            val, test = val[:DRY_IMAGES], test[:DRY_IMAGES]

        def part(all_images, all_labels, index):
            inputs = to_input(all_images[index].to(device), network.mean, network.std)
            return inputs, all_labels[index].to(device)

        self.classes = images.classes
        self.train = part(images.train_images, images.train_labels, train)
        # So few pictures that an epoch has no more than a few steps are shown several times.
        few = not settings["dry_run"] and len(train) < SMALLEST_EPOCH
        copies = SMALLEST_EPOCH // len(train) if few else 1
        self.shown, self.parts = self.train, [(len(train), copies)]
        self.most = DRY_IMAGES if settings["dry_run"] else None  # of each further part
        fonts = fonts_file(settings)
        if fonts is not None:
            digits, labels = load_font_digits(fonts)
            if self.classes != [str(digit) for digit in range(10)]:
                raise UserError(
                    "--fonts has digits, and the classes to learn are not 0 to 9: "
                    "leave it out, or choose another --recipe"
                )
            self.show(part(digits, labels, slice(None)), FONT_COPIES)
        if settings["few_pixels"]:
            count = number_drawn(len(train))
            generator = torch.Generator().manual_seed(settings["seed"])
            chosen = train[torch.randperm(len(train), generator=generator)[:count]]
            small = in_few_pixels(images.train_images[chosen], settings["seed"])
            self.show(part(small, images.train_labels[chosen], slice(None)), copies / DRAWN)
        if settings["non_digits"]:
            for strange, times in non_digits(fonts, images.train_images[train], settings["seed"]):
                self.show(
                    part(strange, torch.full((len(strange),), NO_CLASS), slice(None)), copies * times
                )
        self.val = part(images.train_images, images.train_labels, val)
        self.test = part(images.test_images, images.test_labels, test)

    def show(self, part: tuple[torch.Tensor, torch.Tensor], times: float) -> None:
        """Let every epoch go through these images too: twice, or through a random tenth of them."""
        part = tuple(tensor[: self.most] for tensor in part)
        self.shown = tuple(torch.cat(pair) for pair in zip(self.shown, part, strict=True))
        self.parts.append((len(part[0]), times))

    def repeat(self) -> None:
        """Have each image as often as an epoch shows it, where each time it is one of its own."""
        again = random_order(self.parts, torch.Generator()).sort().values
        self.shown = tuple(tensor[again] for tensor in self.shown)
        self.parts = [(len(again), 1)]


def fingerprint(images: ImageSet) -> str:
    """The MD5 of a data set that has none of its own: anybody's pictures."""
    parts = (images.train_images, images.train_labels, images.test_images, images.test_labels)
    return md5(b"".join(part.numpy().tobytes() for part in parts) + "\0".join(images.classes).encode())


def number_drawn(images: int) -> int:
    """How many are drawn of a kind that is shown beside so many images."""
    return max(1, DRAWN * images // BESIDE)


def non_digits(fonts: Path | None, images: torch.Tensor, seed: int) -> list:
    """What a run with `--non-digits` learns to refuse, and how often an epoch shows each of it.

    Scribbles, shapes and pairs of digits, of which more are drawn than an epoch
    shows; letters in fonts.
    """
    import nondigits

    count, share = number_drawn(len(images)), 1 / DRAWN
    parts = [
        (nondigits.scribbles(count, seed), share),
        (nondigits.shapes(count, seed), share),
        (nondigits.digit_pairs(images, count, seed), share),
    ]
    if fonts is not None:
        parts.append((nondigits.load_letters(fonts), 1))
    return parts


def with_classes_of(init_from: str | None, images: ImageSet) -> ImageSet:
    """The images with the classes of the weights to begin with, where theirs are some of them.

    So a few digits that the network reads badly can be learned without the others.
    """
    if init_from is None:
        return images
    known = load_weights(init_from)[1]["classes"]
    if not set(images.classes) <= set(known):
        return images
    place = torch.tensor([known.index(name) for name in images.classes])
    return images._replace(
        train_labels=place[images.train_labels], test_labels=place[images.test_labels], classes=known
    )


def validation_size(settings: dict, count: int) -> int:
    """How many of `count` training images are held out: `--val-size`, or fewer of a small data set."""
    size, default = settings["val_size"], RECIPES["default"]["val_size"]
    if size == default and size > count // VAL_SHARE:
        say(f"holding out {count // VAL_SHARE:,} of {count:,} images to validate, not {size:,}")
        return count // VAL_SHARE
    return size


class Run:
    """A training run: its settings, its folder, and all that changes while it goes on."""

    def __init__(self, settings: dict, folder: Path | None, device: torch.device, classes: list[str]):
        self.settings, self.folder, self.device = settings, folder, device
        torch.manual_seed(settings["seed"])
        self.net = first_weights(settings, classes).to(device)
        self.optimizer = make_optimizer(
            self.net, settings["optimizer"], settings["lr"], settings["weight_decay"]
        )
        self.average = Average(self.net, settings["average"]) if settings["average"] else None
        self.generator = torch.Generator().manual_seed(settings["seed"])
        self.lessons: Lessons | None = None
        self.history: list[dict] = []
        self.best: dict | None = None  # epoch, weights and metadata of the best epoch so far
        self.step = 0  # optimiser steps done in all
        self.step_in_epoch = 0
        self.tally: list[float] | None = None  # of an epoch that was interrupted
        self.seconds = 0.0  # of an epoch that was interrupted
        self.finished = False

    @property
    def judged(self) -> nn.Module:
        """The network that is evaluated and saved: the averaged one, where there is one."""
        return self.average.net if self.average else self.net

    # What a checkpoint holds beside the states of network, optimiser and generators.
    PLAIN = ("history", "best", "step", "step_in_epoch", "tally", "seconds", "finished")

    def save_checkpoint(self, generator_state: torch.Tensor) -> None:
        """Write all that --resume needs. `generator_state` is that before the epoch was drawn."""
        state = {name: getattr(self, name) for name in self.PLAIN}
        state["net"] = self.net.state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        if self.average:
            state["average"] = {"net": self.average.net.state_dict(), "steps": self.average.steps}
        state["generator"] = generator_state
        state["torch_generator"] = torch.get_rng_state()
        write_file(self.folder / "checkpoint.pth", to_bytes(state))

    def load_checkpoint(self) -> bool:
        """Take up the run where its checkpoint is; False if none was written yet."""
        path = self.folder / "checkpoint.pth"
        if not path.exists():
            return False
        data = read_file(path, LARGEST_CHECKPOINT)
        try:
            state = unpickled(path, data, LARGEST_CHECKPOINT, self.device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, about what stands in the place of something
                self.take_up(state)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise UserError(
                f"{path} is damaged ({reason(error)}); delete it to start the run over"
            ) from error
        return True

    def take_up(self, state: dict) -> None:
        """Go on from a checkpoint. Raises an error of any kind if it is not that of such a run."""
        self.net.load_state_dict(tensors_like(self.net.state_dict(), state["net"]))
        self.optimizer.load_state_dict(optimizer_state(self, state["optimizer"]))
        if self.average:
            average = tensors_like(self.net.state_dict(), state["average"]["net"])
            self.average.net.load_state_dict(average)
            self.average.steps = number_of_steps(state["average"]["steps"])
        self.generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["torch_generator"].cpu())
        check_progress(self, state)
        for name in self.PLAIN:
            setattr(self, name, state[name])

    def steps_per_epoch(self, data: Data) -> int:
        return math.ceil(epoch_size(data.parts) / self.settings["batch_size"])

    def total_steps(self, data: Data) -> int:
        epochs = self.settings["epochs"]
        epochs = min(epochs, DRY_EPOCHS) if self.settings["dry_run"] else epochs
        return min(epochs * self.steps_per_epoch(data), self.settings["max_steps"] or sys.maxsize)


def tensors_like(wanted: dict, found: dict) -> dict:
    """`found`, if its tensors have the names, shapes and kinds of those in `wanted`, else ValueError.

    PyTorch takes much of what is otherwise, and computes with it until something breaks.
    """
    if found.keys() != wanted.keys():
        raise ValueError("its tensors have other names")
    for name, tensor in wanted.items():
        other = found[name]
        if not isinstance(other, torch.Tensor) or other.is_meta or other.layout != tensor.layout:
            raise ValueError(f"{name} is not a tensor of plain numbers")
        if (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} is {tuple(other.shape)} of {other.dtype}")
    return found


def number_of_steps(value) -> int:
    if type(value) is not int or not 0 <= value < sys.maxsize:
        raise ValueError("its number of steps is none")
    return value


def optimizer_state(run: Run, found: dict) -> dict:
    """The state of a run's optimiser from that in a checkpoint, of which only what changes is taken."""
    net = copy.deepcopy(run.net)
    other = make_optimizer(net, *(run.settings[name] for name in ("optimizer", "lr", "weight_decay")))
    if not other.state:  # it begins with the first step
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        other.step()
    wanted = other.state_dict()
    if found["state"] != {}:  # as it is before the first step
        if found["state"].keys() != wanted["state"].keys():
            raise ValueError("its optimizer is of another network")
        for place, tensors in wanted["state"].items():
            tensors_like(tensors, found["state"][place])
    for group, theirs in zip(wanted["param_groups"], found["param_groups"], strict=True):
        for name in group.keys() & {"learned", "measured_at"}:  # of sdlm; the rest is in the settings
            group[name] = number_of_steps(theirs[name])
    return {"state": found["state"], "param_groups": wanted["param_groups"]}


def check_progress(run: Run, state: dict) -> None:
    """Raise an error unless a checkpoint says of a run what train.py would."""
    history, best, tally = (state[name] for name in ("history", "best", "tally"))
    check_history(history)
    if number_of_steps(state["step_in_epoch"]) > number_of_steps(state["step"]):
        raise ValueError("its epoch has more steps than it has")
    empty = Tally(run.device).values.tolist()
    tally = empty if tally is None else tally
    if len(tally) != len(empty) or not all(type(value) is float for value in (state["seconds"], *tally)):
        raise ValueError("its seconds and its tally are not numbers")
    if type(state["finished"]) is not bool:
        raise ValueError("it does not say whether it is finished")
    if best is None and not history:
        return
    if type(best["epoch"]) is not int or not 1 <= best["epoch"] <= len(history):
        raise ValueError(f"its best epoch is none of {len(history)}")
    weights = tensors_like(run.net.state_dict(), best["weights"])
    metadata = {"arch": run.settings["arch"], **best["metadata"]}
    check_metadata("its best epoch", metadata)
    if len(metadata["classes"]) != len(list(weights.values())[-1]):
        raise ValueError("its best epoch has other classes")


def first_weights(settings: dict, classes: list[str]) -> nn.Module:
    """The network that a run starts from: freshly initialised, or from `--init-from`.

    Weights that know other classes keep all their layers but the outputs.
    """
    net = build(settings["arch"], len(classes))
    if settings["init"] is not None:
        net.apply(INITIALISATIONS[settings["init"]])
    if settings["init_from"] is None:
        return net
    start, metadata = load_weights(settings["init_from"], settings["arch"])
    if metadata["classes"] == classes:
        return start
    say(f"{settings['init_from']} knows other classes: its output layer begins anew")
    output = list(net.state_dict())[-2:]  # weights and biases
    kept = {name: value for name, value in start.state_dict().items() if name not in output}
    net.load_state_dict(kept, strict=False)
    return net


class Stop:
    """Turns Ctrl-C and SIGTERM into a request that the training loop answers between steps.

    Outside of a `patient` block the signal ends the script at once; a second one
    always does.
    """

    def __init__(self):
        self.requested: int | None = None
        self.is_patient = False
        self.kept = "nothing was to be saved yet"  # what is lost if the script ends now

    def handle(self, number, frame) -> None:
        if self.is_patient and self.requested is None:
            self.requested = number
        else:
            raise Stopped(f"stopped at once; {self.kept}", STOP_STATUS[number])

    @property
    def status(self) -> int:
        return STOP_STATUS[self.requested]

    @contextlib.contextmanager
    def patient(self):
        self.is_patient, self.kept = True, "what the last epoch saved is kept"
        try:
            yield
        finally:
            self.is_patient = False


def fit(run: Run, data: Data, stop: Stop) -> int:
    """Train until the run's last step or a signal; the exit status.

    After every epoch the checkpoint, the metrics, the figure and, if they are
    the best so far, the weights are on the disk.
    """
    total, per_epoch = run.total_steps(data), run.steps_per_epoch(data)
    schedule, peak = SCHEDULES[run.settings["scheduler"]], run.settings["lr"]
    augmentation = AUGMENTATIONS[run.settings["augment"]]
    batch_size = run.settings["batch_size"]
    loss = loss_of_run(run)
    after_step = (lambda: run.average.add(run.net)) if run.average else (lambda: None)
    while run.step < total:
        epoch = run.step // per_epoch + 1
        started = time.perf_counter() - run.seconds
        generator_state = run.generator.get_state()
        lesson = run.lessons.of_epoch(epoch) if run.lessons else None
        plan = EpochPlan(data.shown[0], augmentation, run.generator, lesson, data.parts)
        first_step, done_before = run.step_in_epoch, run.step - run.step_in_epoch
        tally = None if run.tally is None else Tally(run.device, run.tally)
        epochs = math.ceil(total / per_epoch)
        with tqdm(
            total=min(per_epoch, total - done_before),
            initial=first_step,
            desc=f"epoch {epoch}/{epochs}",
            leave=False,
            disable=None,  # silent in a pipe
        ) as bar:

            def before_step(step: int, bar=bar, done_before=done_before) -> bool:
                if stop.requested is not None or done_before + step >= total:
                    return False
                lr = peak * schedule((done_before + step) / total)
                for group in run.optimizer.param_groups:
                    group["lr"] = lr
                bar.update()
                return True

            run.step_in_epoch, tally = train_epoch(
                run.net,
                run.optimizer,
                *data.shown,
                plan,
                batch_size,
                first_step=first_step,
                tally=tally,
                loss=loss,
                before_step=before_step,
                after_step=after_step,
            )
        run.step = done_before + run.step_in_epoch
        if stop.requested is not None and run.step < min(total, done_before + per_epoch):
            run.tally, run.seconds = tally.values.tolist(), time.perf_counter() - started
            run.save_checkpoint(generator_state)
            return stop.status
        finish_epoch(run, data, epoch, tally, started)
        run.step_in_epoch, run.tally, run.seconds = 0, None, 0.0
        run.finished = run.step >= total
        run.save_checkpoint(run.generator.get_state())
        write_outputs(run)
        print(epoch_line(run.history[-1], epochs), flush=True)
        if stop.requested is not None and not run.finished:
            return stop.status
    return 0


def project_file(name: str, otherwise: str) -> Path:
    """A file by its name as it stands, or within the project. Raises UserError if there is none."""
    for path in (Path(name), Path(__file__).parent / name):
        if path.exists():
            return path
    raise UserError(f"there is no {name}; {otherwise}")


def teacher_file(settings: dict) -> Path | None:
    if settings["teacher"] is None:
        return None
    make = "make one with: python train.py --recipe teacher, and name it with --teacher"
    return project_file(settings["teacher"], make)


def fonts_file(settings: dict) -> Path | None:
    if settings["fonts"] is None:
        return None
    return project_file(settings["fonts"], "make it with: python fonts/render.py")


def make_lessons(settings: dict, data: Data, device: torch.device) -> Lessons | None:
    """The teacher's answers, where the run has a teacher."""
    path = teacher_file(settings)
    if path is None:
        return None
    teacher, metadata = load_weights(path)
    network = NETWORKS[settings["arch"]]
    if (metadata["mean"], metadata["std"]) != (network.mean, network.std):
        raise UserError(
            f"{path} was trained on other inputs than {settings['arch']} reads "
            f"(mean {metadata['mean']}, not {network.mean}): it cannot teach it"
        )
    if metadata["classes"] != data.classes:
        raise UserError(f"{path} knows other classes than {settings['dataset']} has")
    if path.resolve() == Path(settings["output"]).resolve():
        raise UserError(f"the trained weights would overwrite the teacher {path}: name another --output")
    held_out = metadata.get("val_size", 0) if metadata.get("seed") == settings["seed"] else 0
    if held_out < settings["val_size"]:
        say(f"validation images may have been among those that {path} was trained on")
    teacher = teacher.to(device)
    augmentation, temperature = AUGMENTATIONS[settings["augment"]], settings["temperature"] or 1.0
    data.repeat()  # so that no two sightings in an epoch have the same distortion
    return Lessons(teacher, data.shown[0], augmentation, settings["seed"], temperature)


def loss_of_run(run: Run):
    """The function of logits and targets that a run makes small."""
    smoothing, temperature = run.settings["label_smoothing"], run.settings["temperature"]
    if temperature is not None:
        return soft_cross_entropy(temperature)
    if run.settings["non_digits"]:
        return outlier_exposure(smoothing or 0.0)
    if smoothing:
        return functools.partial(F.cross_entropy, label_smoothing=smoothing)
    return loss_function(run.net)


class DivergedError(UserError):
    """The loss is infinite or not a number, and so are the weights."""


def finish_epoch(run: Run, data: Data, epoch: int, tally: Tally, started: float) -> None:
    """Evaluate, add a row to the history, and keep the weights if they are the best so far."""
    row = dict.fromkeys(COLUMNS)
    row["epoch"], row["lr"] = epoch, run.optimizer.param_groups[0]["lr"]
    row["train_loss"], row["train_accuracy"] = tally.result()
    check_finite(row["train_loss"], run, f"epoch {epoch}, step {tally.finite_steps() + 1}")
    val = evaluate(run.judged, *data.val) if len(data.val[0]) else None
    test = evaluate(run.judged, *data.test)
    if val is not None:
        row["val_loss"], row["val_accuracy"] = val.loss, val.accuracy
        check_finite(val.loss, run, f"the validation after epoch {epoch}")
    row["test_loss"], row["test_accuracy"] = test.loss, test.accuracy
    check_finite(test.loss, run, f"the test after epoch {epoch}")
    row["seconds"] = time.perf_counter() - started
    run.history.append(row)
    if is_better(row, run.best and run.history[run.best["epoch"] - 1]):
        run.best = {
            "epoch": epoch,
            "weights": weights_with_metadata(run.judged),
            "metadata": describe(run, data, row, val),
        }


def check_finite(loss: float, run: Run, where: str) -> None:
    """Raise DivergedError for a loss that is infinite or not a number."""
    if math.isfinite(loss):
        return
    kept = f"the weights of epoch {run.best['epoch']} are kept" if run.best else "nothing is kept"
    raise DivergedError(
        f"the loss is no longer a finite number in {where}; {kept}; "
        f"try a smaller --lr than {run.settings['lr']:g}",
        status=1,
    )


def is_better(row: dict, best: dict | None) -> bool:
    """Whether an epoch's weights are to be kept: by validation accuracy, then validation loss.

    Without validation images the last epoch's are. The test set decides nothing.
    """
    if best is None or row["val_accuracy"] is None:
        return True
    return (row["val_accuracy"], -row["val_loss"]) > (best["val_accuracy"], -best["val_loss"])


def describe(run: Run, data: Data, row: dict, val: Evaluation | None) -> dict:
    """What the weights say of themselves: plain numbers, strings and lists."""
    metadata = {
        "classes": data.classes,
        "test_accuracy": row["test_accuracy"],
        "epoch": row["epoch"],
        "torch": str(torch.__version__),  # a subclass of str, which weights_only refuses
    }
    for name in ("dataset", "recipe", "epochs", "seed"):
        metadata[name] = run.settings[name]
    metadata["val_size"] = len(data.val[0])
    if run.settings["non_digits"]:
        metadata["non_digits"] = True
    if val is not None:
        metadata["val_accuracy"] = val.accuracy
        # Where few images or no mistakes are, nothing tells how sure a mistake would be.
        tells = len(val.labels) >= LEAST_TO_CALIBRATE and val.accuracy < 1
        temperature = fit_temperature(val.logits, val.labels) if tells else 1.0
        metadata["temperature"] = temperature
        limits = rejection_limits(val.logits / temperature)
        metadata["reject_below"], metadata["least_evidence"] = limits
    return metadata


# ---------------------------------------------------------------- what a run writes


def write_outputs(run: Run) -> None:
    """Metrics, figure and best weights, from the run's history alone."""
    write_file(run.folder / "metrics.csv", metrics_csv(run.history).encode())
    draw_training(run)
    if not run.settings["dry_run"]:
        save_weights(run.settings["output"], best_network(run), **run.best["metadata"])


def best_network(run: Run) -> nn.Module:
    """The network with the best weights so far, on the CPU."""
    net = build(run.settings["arch"], len(run.best["metadata"]["classes"]))
    net.load_state_dict(run.best["weights"])
    return net


def draw_training(run: Run) -> None:
    # matplotlib takes half a second to import, which --help and an error need not wait for.
    from plots import training_curves

    title = f"{run.settings['arch']} on {run.settings['dataset']}: {run.folder.name}"
    training_curves(run.history, run.settings["plot"], title, run.best["epoch"])


def metrics_csv(history: list[dict]) -> str:
    """A row an epoch; accuracies from 0 to 1; what was not measured is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "seconds": round(row["seconds"], 3)} for row in history)
    return text.getvalue()


def check_history(history: list[dict]) -> None:
    """Raise ValueError unless these are the figures of epochs 1, 2, 3 and so on."""
    for epoch, row in enumerate(history, 1):
        if row.keys() != set(COLUMNS) or not all(
            type(v) in (int, float, NoneType) for v in row.values()
        ):
            raise ValueError(f"row {epoch} has other columns than numbers of an epoch")
        if row["epoch"] != epoch:
            raise ValueError(f"row {epoch} is of epoch {row['epoch']}")
        unmeasured = {name for name, value in row.items() if value is None}
        if unmeasured not in (set(), {"val_loss", "val_accuracy"}):
            raise ValueError(f"epoch {epoch} has no {min(unmeasured)}")
        if unmeasured != {name for name, value in history[0].items() if value is None}:
            raise ValueError(f"epoch {epoch} has other figures than the first")
        for name in row.keys() - unmeasured:
            most = sys.float_info.max
            low, high = (0, 1) if name.endswith("accuracy") else (-most, most)
            if not low <= row[name] <= high:  # also nan
                raise ValueError(f"the {name} of epoch {epoch} cannot be {row[name]}")


def percent(share: float | None) -> str:
    return "  -  %" if share is None else f"{100 * share:5.2f} %"


def epoch_line(row: dict, epochs: int) -> str:
    """One epoch in at most 80 columns."""
    width = len(str(epochs))
    accuracy = {part: percent(row[f"{part}_accuracy"]).replace(" %", "%") for part in PARTS}
    return (
        f"epoch {row['epoch']:{width}}/{epochs}  loss {row['train_loss']:.4f}"
        + "".join(f"  {part} {accuracy[part]}" for part in PARTS)
        + f"  lr {row['lr']:.0e}  {row['seconds']:.1f}s"
    )


def new_folder(settings: dict, device: torch.device, data: Data) -> Path:
    """A folder of its own for a run, also for two that start in the same second.

    It is there with its config.json or not at all, so that every run can be resumed.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{settings['arch']}-seed{settings['seed']}"
    redraw_elsewhere = settings["dry_run"] and os.path.exists(settings["plot"])
    make_folder(RUNS)
    for i in range(1, 1000):
        folder = Path(RUNS, name if i == 1 else f"{name}-{i}")
        if redraw_elsewhere:
            settings["plot"] = str(folder / "training_results.png")
        if make_folder_with(folder, "config.json", config_json(settings, device, data)):
            return folder
    raise UserError(f"there are a thousand runs called {name} already")


def conditions(settings: dict, device: torch.device, data: Data) -> dict:
    """What a run's numbers depend on beside its settings."""
    teacher, fonts, start = teacher_file(settings), fonts_file(settings), settings["init_from"]
    return {
        "device_used": str(device),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "machine": platform.platform(),
        "teacher_md5": teacher and md5(read_file(teacher, LARGEST_WEIGHTS)),
        "fonts_md5": fonts and md5(read_file(fonts, LARGEST_FONTS)),
        "init_from_md5": start and md5(read_file(start, LARGEST_WEIGHTS)),
        "dataset_md5": data.md5,
    }


def config_json(settings: dict, device: torch.device, data: Data) -> bytes:
    config = settings | conditions(settings, device, data)
    return (json.dumps(config, indent=2) + "\n").encode()


def compare_conditions(settings: dict, folder: Path, device: torch.device, data: Data) -> None:
    """Say where a run that is resumed goes on under other conditions than it began.

    Raises UserError if its teacher, its fonts, its first weights or its own
    pictures are others now: with another split, what was learned would be tested.
    """
    config = read_json(folder / "config.json")
    for name, now in conditions(settings, device, data).items():
        before = config.get(name)
        if name.endswith("_md5") and name in config and before != now:
            kind = name.removesuffix("_md5")
            raise UserError(f"{flag(kind)} {settings[kind]} is not that with which {folder} began")
        if before != now:
            say(
                f"{name.replace('_', ' ')}: {now}, and the run began with {reprlib.repr(before)}; "
                "it will not be the same to the bit"
            )


# ---------------------------------------------------------------- the command line


def make_parser() -> ArgumentParser:
    """Flags without defaults, so that those which were given can be told apart."""
    parser = ArgumentParser(
        prog="train.py",
        description="Train LeNet-5; without flags: 10 epochs on MNIST.",
        argument_default=None,
    )
    defaults = RECIPES["default"]
    add = parser.add_argument
    add("--arch", choices=[*NETWORKS, "list"], help="the network (lenet5); list tells of each")
    add("--recipe", choices=list(RECIPES), help="a named set of defaults for the flags below")
    add(
        "--dataset",
        metavar="NAME",
        help=f"what to learn (mnist): {', '.join(DATASETS)}, or a folder with a sub-folder a class",
    )
    add("--data-dir", metavar="DIR", help="where data sets are kept (data)")
    add("--epochs", type=number(int, 1, 100_000), help=f"({defaults['epochs']})")
    add("--batch-size", type=number(int, 1, 60_000), help=f"({defaults['batch_size']})")
    add("--lr", type=number(float, 1e-9, 1e6), help=f"peak learning rate ({defaults['lr']})")
    add("--optimizer", choices=list(OPTIMIZERS), help=f"({defaults['optimizer']})")
    add("--scheduler", choices=list(SCHEDULES), help=f"({defaults['scheduler']})")
    add("--augment", choices=list(AUGMENTATIONS), help=f"({defaults['augment']})")
    add("--fonts", metavar="FILE", help="digits in fonts to learn too, such as fonts/digits.npz")
    add(
        "--few-pixels",
        action="store_true",
        default=None,
        help="learn beside the data set what is left of its digits in 8 to 12 pixels a side",
    )
    add(
        "--non-digits",
        action="store_true",
        default=None,
        help="learn to be sure of nothing for scribbles, shapes, pairs of digits, letters in --fonts",
    )
    add(
        "--val-size",
        type=number(int, 0, 59_999),
        help="training images held out to choose the best epoch (5000); 0 keeps the last epoch",
    )
    add("--seed", type=number(int, 0, 2**63 - 1), help="of weights, split, order, distortions (0)")
    add("--device", choices=["auto", "cpu", "cuda", "mps"], help="(auto: cuda, else mps, else cpu)")
    add("--resume", metavar="RUN", help="go on with a run, by its folder or name")
    add("--init", choices=list(INITIALISATIONS), help="initial weights (the network's own choice)")
    add("--init-from", metavar="WEIGHTS", help="start from these weights")
    add("--teacher", metavar="WEIGHTS", help="learn from this network's answers, not from labels")
    add(
        "--temperature",
        type=number(float, 0.01, 100.0),
        help="soften the teacher's answers by dividing its logits (1)",
    )
    add(
        "--average",
        type=number(float, 0.0, 0.999999),
        help="keep averaged weights; the share of the mean that a step leaves, such as 0.999",
    )
    add(
        "--weight-decay",
        type=number(float, 0.0, 1.0),
        help="(0.01 with adamw, which takes it from the weights; else 0, added to the gradient)",
    )
    add("--label-smoothing", type=number(float, 0.0, 0.9), help="(0)")
    add("--output", metavar="FILE", help="the trained weights (lenet5_model.pth)")
    add("--plot", metavar="FILE", help="the training curves (training_results.png)")
    add("--max-steps", type=number(int, 1), help="end after so many optimiser steps")
    add("--dry-run", action="store_true", default=None, help="a few steps; no weights are written")
    add("--compare", nargs="*", metavar="RUN", help="compare finished runs instead (all in runs/)")
    return parser


def settle(given: dict) -> dict:
    """All settings of a run from the flags that were given."""
    recipe = given.get("recipe", "default")
    settings = {**RECIPES["default"], **RECIPES[recipe], "recipe": recipe, **given}
    if "init_from" in given and "arch" not in given:
        settings["arch"] = load_weights(given["init_from"])[0].arch
    check_together(settings)
    return settings


def check_together(settings: dict) -> None:
    """Refuse flags that make no sense, alone or with each other."""
    arch = settings["arch"]
    check_dataset(settings["dataset"])
    if settings["optimizer"] == "sdlm" and arch != LeNet1998.arch:
        raise UserError(f"--optimizer sdlm needs second derivatives, which only {LeNet1998.arch} has")
    if settings["optimizer"] == "sdlm" and settings["device"] not in ("auto", "cpu"):
        raise UserError("--optimizer sdlm learns one pattern at a time, on the CPU: leave --device out")
    if settings["optimizer"] == "sdlm" and settings["weight_decay"] is not None:
        raise UserError("--optimizer sdlm knows no --weight-decay: leave it out")
    if arch == LeNet1998.arch and (settings["teacher"] or settings["label_smoothing"]):
        raise UserError(
            f"the loss of {arch} is equation 9, of labels as they are: "
            "leave --teacher and --label-smoothing out, or choose another --recipe"
        )
    if settings["teacher"] and AUGMENTATIONS[settings["augment"]] is None:
        raise UserError("--teacher needs distorted images to answer for: name an --augment")
    if settings["temperature"] and not settings["teacher"]:
        raise UserError("--temperature softens a teacher's answers: name a --teacher, or leave it out")
    if settings["non_digits"] and (settings["teacher"] or arch == LeNet1998.arch):
        raise UserError(
            "--non-digits needs the cross-entropy: leave --teacher and lenet5-1998 out, "
            "or choose another --recipe"
        )
    if settings["label_smoothing"] and settings["teacher"]:
        raise UserError("--label-smoothing is for labels, and a teacher stands for them: leave one out")
    if settings["init"] and settings["init_from"]:
        raise UserError("--init and --init-from are two ways to begin: leave one out")
    if settings["init"] and arch in (LeNet1998.arch, "lenet5-tanh"):
        raise UserError(f"--init is for networks with ReLU; {arch} has an initialisation of its own")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def run_folder(name: str) -> Path:
    """The folder of a run given by its folder or its name. Raises UserError if it is no run."""
    for folder in (Path(name), Path(RUNS, name)):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(f"{name} is no run: no config.json in it, nor in {Path(RUNS, name)}")


def settings_of(folder: Path, given: dict) -> dict:
    """The settings in a run's config.json, checked as if they had been typed as flags.

    Raises UserError where `given` has another value.
    """
    path = folder / "config.json"
    config = read_json(path)
    typed = []
    for name in (*RECIPES["default"], "recipe"):
        value, default = config.get(name), RECIPES["default"].get(name, "")
        nothing = (NoneType, bool)  # a flag without a value, or with none by default
        if not isinstance(default, nothing) and (value is None or value is False):
            raise UserError(f"{path} lacks {name!r}; it was not written by train.py")
        if isinstance(value, list | dict) or value == "list":  # which --arch takes and is no network
            raise UserError(f"{path} was changed: {name!r} has no value that {flag(name)} takes")
        if value is True:
            typed.append(flag(name))
        elif value is not None and value is not False:
            typed.append(f"{flag(name)}={value}")
    try:
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            parsed = vars(make_parser().parse_args(typed))
    except SystemExit:
        raise UserError(f"{path} was changed: {complaint.getvalue().strip()}") from None
    settings = {name: parsed[name] for name in (*RECIPES["default"], "recipe")}
    settings["dry_run"] = bool(settings["dry_run"])
    check_together(settings)
    for name, value in given.items():
        if settings[name] != value:
            raise UserError(
                f"{flag(name)} {value} differs from the run's own: {settings[name]}; "
                f"leave it out, or start a new run"
            )
    return settings


def load_run(given: dict) -> tuple[Run, Data]:
    """A new run, or the one to resume, with its data, ready for `fit`."""
    name = given.pop("resume", None)
    folder = None if name is None else run_folder(name)
    settings = settle(given) if folder is None else settings_of(folder, given)
    device = pick_device("cpu" if settings["optimizer"] == "sdlm" else settings["device"])
    if not settings["dry_run"]:
        check_writable(settings["output"])
    check_writable(settings["plot"])
    data = Data(settings, device)
    run = Run(settings, folder, device, data.classes)
    run.lessons = make_lessons(settings, data, device)
    if folder is not None:
        compare_conditions(settings, folder, device, data)
        found = run.load_checkpoint()
        check_steps(run, data)
        print(f"resuming {folder} " + (f"after step {run.step:,}" if found else "from its beginning"))
        return run, data
    run.folder = new_folder(settings, device, data)  # last, when nothing can go wrong any more
    return run, data


def check_steps(run: Run, data: Data) -> None:
    """Raise UserError where a run that is resumed has done other steps than its history has epochs."""
    whole, size = run.step - run.step_in_epoch, run.steps_per_epoch(data)
    if run.step_in_epoch >= size or math.ceil(whole / size) != len(run.history):
        path = run.folder / "checkpoint.pth"
        raise UserError(f"{path} is damaged (its steps); delete it to start the run over")


def print_start(run: Run, data: Data) -> None:
    counts = [f"{len(images):,}" for images, _ in (data.train, data.val, data.test)]
    print(f"{run.settings['arch']}: {count_parameters(run.net):,} parameters, on {run.device}")
    print("images: {} to train on, {} to validate, {} to test".format(*counts), flush=True)
    if epoch_size(data.parts) > len(data.train[0]):
        print(f"an epoch shows {epoch_size(data.parts):,} images", flush=True)


def print_summary(run: Run, data: Data, started: float) -> None:
    """What came out, where it is, and what to do next."""
    net = best_network(run).to(run.device)
    row = run.history[run.best["epoch"] - 1]
    training = evaluate(net, *data.train)
    chosen = "by validation accuracy" if row["val_accuracy"] is not None else "the last one"
    print(f"kept epoch         {row['epoch']}, {chosen}")
    print(f"test accuracy      {percent(row['test_accuracy'])} of {len(data.test[0]):,} images")
    print(f"training accuracy  {percent(training.accuracy)} of {len(data.train[0]):,} images")
    print(f"time               {time.perf_counter() - started:.1f} s")
    if run.settings["dry_run"]:
        print("weights            none: this was a dry run")
    else:
        print(f"weights            {run.settings['output']}")
    print(f"curves             {run.settings['plot']}")
    print(f"run                {run.folder}")
    if run.settings["dry_run"]:
        print("next               python train.py")
    elif run.settings["output"] == RECIPES["default"]["output"]:
        print("next               python inference.py")
    else:
        print(f"next               python inference.py --weights {run.settings['output']}")


def read_metrics(folder: Path) -> list[dict]:
    """The rows of a run's metrics.csv as numbers, None where a field is empty."""
    path = folder / "metrics.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(read_file(path, 1 << 26).decode())))
        history = [{c: float(row[c]) if row[c] else None for c in COLUMNS} for row in rows]
        check_history(history)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a metrics file: {reason(error)}") from error
    if not history:
        raise UserError(f"{path} has no epochs in it")
    return history


def compare_runs(names: list[str], plot: str) -> int:
    """Print the best figures of several runs side by side and draw their curves over each other."""
    from plots import run_comparison

    folders = [run_folder(name) for name in names]
    if not names:
        folders = sorted(p.parent for p in Path(RUNS).glob("*/config.json"))
    runs = {}
    for folder in folders:
        if (folder / "metrics.csv").exists():
            runs[folder.name] = read_metrics(folder)
        else:
            say(f"left out: {folder} has finished no epoch")
    if not runs:
        raise UserError(f"there is no run with metrics to compare in {RUNS}/; make one: python train.py")
    width = max(len("run"), *map(len, runs))
    print(f"{'run':{width}}  epochs  best  {'val':>7}  {'test':>7}  {'train':>7}  seconds")
    for name, history in runs.items():
        best = history[0]
        for row in history[1:]:
            best = row if is_better(row, best) else best
        print(
            f"{name:{width}}  {len(history):6}  {best['epoch']:4.0f}  {percent(best['val_accuracy'])}"
            f"  {percent(best['test_accuracy'])}  {percent(best['train_accuracy'])}"
            f"  {sum(row['seconds'] for row in history):7.1f}"
        )
    run_comparison(runs, plot)
    print(f"curves: {plot}")
    return 0


@command_line
def main(argv=None) -> int:
    started = time.perf_counter()
    given = {k: v for k, v in vars(make_parser().parse_args(argv)).items() if v is not None}
    if given.get("arch") == "list":
        print(table_of_networks())
        return 0
    if "compare" in given:
        return compare_runs(given["compare"], given.get("plot", COMPARISON_PLOT))
    stop = Stop()
    with handling_signals(stop.handle):
        run, data = load_run(given)
        print_start(run, data)
        try:
            with stop.patient():
                if run.finished:
                    write_outputs(run)
                status = fit(run, data, stop)
        except BrokenPipeError:
            raise
        except (UserError, Stopped, OSError) as error:
            if isinstance(error, OSError):
                error = user_error(error)
            # What was done so far is on the disk, so this is "partly done". To go on from a
            # loss that is not finite would only lead there again.
            can_go_on = run.step and not isinstance(error, DivergedError)
            hint = f"; to go on: python train.py --resume {run.folder}" if can_go_on else ""
            status = error.status if error.status > 2 else 1
            raise type(error)(f"{error}{hint}", status) from error
        if status:
            say(f"stopped and saved; to go on: python train.py --resume {run.folder}")
            return status
        stop.kept = "the run is finished and its outputs are written"
        print_summary(run, data, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
