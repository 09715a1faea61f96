"""Train LeNet-5 on MNIST.

    $ python train.py
    lenet5: 61,706 parameters, on cpu
    images: 55,000 to train on, 5,000 to validate, 10,000 to test
                   loss   train     val    test     lr    time
    ...
    epoch 10/10  0.0218  99.30%  99.06%  99.26%  8e-08    5.1s
    kept epoch         9, by validation accuracy
    test accuracy      99.21 % of 10,000 images
    training accuracy  99.50 % of 55,000 images

That is seed 0 on two cores of an AMD EPYC with Python 3.11.7 and torch 2.15.0.
Over the seeds 0 to 4 the test accuracy is 99.24 ± 0.09 % (mean and deviation;
python benchmarks/default_run.py). `loss` and `train` are of the distorted images
while they were learned; each line but the last says how long is left.

A run leaves runs/<name>/ with config.json, metrics.csv, checkpoint.pth and, with
--tensorboard, event files. Ctrl-C saves, and `--resume` goes on where a run was
stopped, to the bit if the machine, the versions and the number of threads are the same.
`torchrun --nproc-per-node=2 train.py` trains in two processes: see processes.py.
"""

from lenet5.runtime.signals import end_quietly

if __name__ == "__main__":
    end_quietly()  # on Ctrl-C, until main() looks after it: the imports take a second

import contextlib
import functools
import json
import math
import os
import platform
import reprlib
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from captured import CapturedSteps, can_capture
from epoch import (
    NO_CLASS,
    SCHEDULES,
    EpochPlan,
    Lessons,
    Tally,
    epoch_size,
    outlier_exposure,
    random_order,
    set_rate,
    soft_cross_entropy,
    train_epoch,
)
from events import check_tensorboard
from lenet5.data.augmentation import AUGMENTATIONS, in_few_pixels
from lenet5.data.datasets import DATASETS, load_dataset, split
from lenet5.data.fonts import LARGEST_FONTS, load_font_digits
from lenet5.data.sources import ImageSet
from lenet5.evaluation.confidence import rejection_limits
from lenet5.evaluation.metrics import Evaluation, evaluate, fit_temperature, loss_function
from lenet5.imaging.inputs import Inputs
from lenet5.networks.devices import pick_device, pick_precision
from lenet5.networks.registry import NETWORKS, table_of_networks
from lenet5.networks.weights import LARGEST_WEIGHTS, load_weights, save_weights, weights_with_metadata
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import (
    check_writable,
    make_folder,
    make_folder_with,
    md5,
    read_file,
    read_json,
    write_file,
)
from lenet5.runtime.cli import command_line
from lenet5.runtime.errors import Stopped, UserError, say, user_error
from lenet5.runtime.signals import STOP_STATUS, handling_signals
from model import build, count_parameters
from recipes import RECIPES, flag, make_parser, settings_of, settle
from run import (
    COLUMNS,
    DRY_IMAGES,
    DRY_STEPS,
    RUNS,
    Run,
    as_published,
    best_network,
    check_steps,
    is_better,
    metrics_csv,
    read_metrics,
    run_folder,
)

PARTS = ("train", "val", "test")
COMPARISON_PLOT = "runs_comparison.png"
SMALLEST_EPOCH = 5000  # images; of fewer pictures each is shown more than once
LEAST_TO_CALIBRATE = 500  # validation images
VAL_SHARE = 6  # of a small data set, every sixth image at most is held out
BESIDE = 20  # for every 20 images an epoch shows a scribble, a shape, a pair of digits
FEW_PIXELS = 2  # and as often as that one of them a digit in few pixels
DRAWN = 3  # times as many of each are drawn
RECENT = 5  # epochs, of which the median tells how long the others will take
FONT_COPIES = 2  # how often an epoch shows each digit of --fonts
ASK_EVERY = 10  # steps, after which several processes agree whether to stop


# ---------------------------------------------------------------- a run and its folder


class Data:
    """The images of a run as network inputs on its device, each part with its labels.

    `train`, `val` and `test` are of the data set; `shown` is what an epoch goes
    through: the training images and what else there is to learn.
    """

    def __init__(self, settings: dict, device: torch.device):
        # Of several processes one reads or downloads them, and all have the same.
        images = distributed.from_first(lambda: load_dataset(settings["dataset"], settings["data_dir"]))
        images = with_classes_of(settings["init_from"], images)
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
            inputs = Inputs(all_images[index].to(device), network.mean, network.std)
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
            self.show(part(small, images.train_labels[chosen], slice(None)), FEW_PIXELS * copies / DRAWN)
        if settings["non_digits"]:
            for strange, times in non_digits(fonts, images.train_images[train], settings["seed"]):
                self.show(
                    part(strange, torch.full((len(strange),), NO_CLASS), slice(None)), copies * times
                )
        self.val = part(images.train_images, images.train_labels, val)
        self.test = part(images.test_images, images.test_labels, test)

    def show(self, part: tuple[Inputs, torch.Tensor], times: float) -> None:
        """Let every epoch go through these images too: twice, or through a random tenth of them."""
        (inputs, labels), (more, their_labels) = self.shown, part
        pictures, their_labels = more.pictures[: self.most], their_labels[: self.most]
        inputs = inputs.of(torch.cat([inputs.pictures, pictures]))
        self.shown = inputs, torch.cat([labels, their_labels])
        self.parts.append((len(pictures), times))

    def repeat(self) -> None:
        """Have each image as often as an epoch shows it, where each time it is one of its own."""
        again = random_order(self.parts, torch.Generator()).sort().values
        inputs, labels = self.shown
        self.shown = inputs.of(inputs.pictures[again]), labels[again]
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
    from lenet5.data import fonts as fonts_module
    from lenet5.data import non_digits as non_digits_module

    count, share = number_drawn(len(images)), 1 / DRAWN
    parts = [
        (non_digits_module.scribbles(count, seed), share),
        (non_digits_module.shapes(count, seed), share),
        (non_digits_module.digit_pairs(images, count, seed), share),
    ]
    if fonts is not None:
        parts.append((fonts_module.load_letters(fonts), 1))
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


class Stop:
    """Turns Ctrl-C and SIGTERM into a request that the training loop answers between steps.

    Outside of a `patient` block the signal ends the script at once; a second one
    always does.
    """

    def __init__(self):
        self.requested: int | None = None  # the signal that this process had
        self.agreed: int | None = None  # the one for which all processes stop
        self.is_patient = False
        self.kept = "nothing was to be saved yet"  # what is lost if the script ends now

    def handle(self, number, frame) -> None:
        if self.is_patient and self.requested is None:
            self.requested = number
        else:
            raise Stopped(f"stopped at once; {self.kept}", STOP_STATUS[number])

    def agree(self) -> bool:
        """Whether to stop, since any process was asked to: all get the same answer."""
        self.agreed = distributed.largest(self.requested or 0) or None
        return self.agreed is not None

    @property
    def status(self) -> int:
        return STOP_STATUS[self.agreed]

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
    total, per_epoch = run.total_steps(data.parts), run.steps_per_epoch(data.parts)
    schedule, peak = SCHEDULES[run.settings["scheduler"]], run.settings["lr"]
    augmentation = AUGMENTATIONS[run.settings["augment"]]
    batch_size = run.settings["batch_size"]
    loss = loss_of_run(run)
    precision = precision_of(run.settings, run.device)
    ask_every = 1 if distributed.count() == 1 else ASK_EVERY
    after_step = (lambda: run.average.add(run.net)) if run.average else (lambda: None)
    epochs, took = math.ceil(total / per_epoch), []
    captured = None
    if run.step < total:
        print(columns(epochs), flush=True)
    while run.step < total:
        epoch = run.step // per_epoch + 1
        started = time.perf_counter() - run.seconds
        generator_state = run.generator.get_state()
        lesson = run.lessons.of_epoch(epoch) if run.lessons else None
        plan = EpochPlan(data.shown[0], augmentation, run.generator, lesson, data.parts)
        if run.device.type == "cuda" and can_capture(run.optimizer, plan):
            captured = captured or CapturedSteps(
                run.net, run.optimizer, *data.shown, batch_size, loss, precision
            )
            captured.begin(plan)
        first_step, done_before = run.step_in_epoch, run.step - run.step_in_epoch
        tally = None if run.tally is None else Tally(run.device, run.tally)
        with tqdm(
            total=min(per_epoch, total - done_before),
            initial=first_step,
            desc=f"epoch {epoch}/{epochs}",
            leave=False,
            disable=None,  # silent in a pipe
        ) as bar:

            def before_step(step: int, bar=bar, done_before=done_before) -> bool:
                if done_before + step >= total or (step % ask_every == 0 and stop.agree()):
                    return False
                set_rate(run.optimizer, peak * schedule((done_before + step) / total))
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
                learn=captured.learn if captured else lambda rows: None,
                precision=precision,
            )
        run.step = done_before + run.step_in_epoch
        if stop.agreed is not None and run.step < min(total, done_before + per_epoch):
            run.tally, run.seconds = tally.values.tolist(), time.perf_counter() - started
            run.save_checkpoint(generator_state)
            return stop.status
        finish_epoch(run, data, epoch, tally, started)
        run.step_in_epoch, run.tally, run.seconds = 0, None, 0.0
        run.finished = run.step >= total
        run.save_checkpoint(run.generator.get_state())
        write_outputs(run)
        took.append(time.perf_counter() - started)
        left = (total - run.step) / per_epoch * statistics.median_low(took[-RECENT:])
        print(epoch_line(run.history[-1], epochs, left), flush=True)
        if stop.agree() and not run.finished:
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


def precision_of(settings: dict, device: torch.device) -> torch.dtype:
    """What the products of a run are rounded to: with --optimizer sdlm to float32, also by auto."""
    name = settings["precision"] or "float32"
    return pick_precision("float32" if settings["optimizer"] == "sdlm" else name, device)


class DivergedError(UserError):
    """The loss is infinite or not a number, and so are the weights."""


def finish_epoch(run: Run, data: Data, epoch: int, tally: Tally, started: float) -> None:
    """Evaluate, add a row to the history, and keep the weights if they are the best so far."""
    row = dict.fromkeys(COLUMNS)
    row["epoch"], row["lr"] = epoch, float(run.optimizer.param_groups[0]["lr"])
    row["train_loss"], row["train_accuracy"] = tally.result()
    check_finite(row["train_loss"], run, f"epoch {epoch}, step {tally.finite_steps() + 1}")
    val = evaluate(run.judged, *data.val, together=True) if len(data.val[0]) else None
    test = evaluate(run.judged, *data.test, together=True)
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
    """Metrics, event file, figure and best weights, from the run's history alone.

    Of several processes the first one writes.
    """
    if not distributed.is_first():
        return
    write_file(run.folder / "metrics.csv", metrics_csv(run.history).encode())
    if run.events:
        run.events.write(run.folder, as_published(run.history))
    draw_training(run)
    if not run.settings["dry_run"]:
        save_weights(run.settings["output"], best_network(run), **run.best["metadata"])


def draw_training(run: Run) -> None:
    # matplotlib takes half a second to import, which --help and an error need not wait for.
    from lenet5.evaluation.training_figures import training_curves

    title = f"{run.settings['arch']} on {run.settings['dataset']}: {run.folder.name}"
    training_curves(run.history, run.settings["plot"], title, run.best["epoch"])


def percent(share: float | None) -> str:
    return "  -  %" if share is None else f"{100 * share:5.2f} %"


def columns(epochs: int) -> str:
    """What stands in the columns of `epoch_line`."""
    names = f"{'loss':>8}{'train':>8}{'val':>8}{'test':>8}{'lr':>7}{'time':>8}"
    return " " * len(f"epoch {epochs}/{epochs}") + names


def epoch_line(row: dict, epochs: int, left: float) -> str:
    """One epoch in at most 80 columns, and how many seconds are `left` after it, if any are."""
    width = len(str(epochs))
    accuracy = [percent(row[f"{part}_accuracy"]).replace(" %", "%") for part in PARTS]
    return (
        f"epoch {row['epoch']:{width}}/{epochs}{row['train_loss']:8.4f}"
        + "".join(f"{share:>8}" for share in accuracy)
        + f"{row['lr']:7.0e}{row['seconds']:7.1f}s"
        + (f"  {duration(left)} left" if left else "")
    )


def duration(seconds: float) -> str:
    """A time in its two largest units: 47s, 3m 20s, 1h 05m, 2d 03h."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"


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
        "precision_used": str(precision_of(settings, device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": distributed.count(),
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
    older = {"processes": 1, "precision_used": "float32"}  # of runs whose config.json does not tell
    config = older | read_json(folder / "config.json")
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


def wanted_run(given: dict) -> tuple[Path | None, dict]:
    """The folder of the run to resume, or None for a new one, and its settings, all of them checked."""
    name = given.pop("resume", None)
    folder = None if name is None else run_folder(name)
    settings = settle(given) if folder is None else settings_of(folder, given)
    if not settings["dry_run"]:
        check_writable(settings["output"])
    check_writable(settings["plot"])
    if settings["tensorboard"]:
        check_tensorboard()
    return folder, settings


def check_shareable(settings: dict) -> None:
    """Raise UserError for what several processes cannot learn as one does."""
    if distributed.count() == 1:
        return
    why = None
    if settings["optimizer"] == "sdlm":
        why = "--optimizer sdlm learns one pattern after the other"
    elif any(isinstance(layer, nn.BatchNorm2d) for layer in build(settings["arch"]).modules()):
        why = f"{settings['arch']} normalises over all images of a batch"
    if why is not None:
        raise UserError(f"{why}, which cannot be shared out: train it without torchrun")


def load_run(given: dict) -> tuple[Run, Data]:
    """A new run, or the one to resume, with its data, ready for `fit`."""
    folder, settings = distributed.from_first(lambda: wanted_run(given))
    check_shareable(settings)
    device = pick_device("cpu" if settings["optimizer"] == "sdlm" else settings["device"])
    device = distributed.own_device(device)
    data = Data(settings, device)
    run = Run(settings, folder, device, data.classes)
    run.lessons = make_lessons(settings, data, device)
    if folder is not None:
        if distributed.is_first():
            compare_conditions(settings, folder, device, data)
        found = run.load_checkpoint()
        check_steps(run, data.parts)
        print(f"resuming {folder} " + (f"after step {run.step:,}" if found else "from its beginning"))
        return run, data
    # Last, when nothing can go wrong any more, in no process.
    distributed.wait_for_all()
    run.folder = distributed.from_first(lambda: new_folder(settings, device, data))
    return run, data


def print_start(run: Run, data: Data) -> None:
    counts = [f"{len(images):,}" for images, _ in (data.train, data.val, data.test)]
    shared = f" in {distributed.count()} processes" if distributed.count() > 1 else ""
    rounded = precision_of(run.settings, run.device) == torch.bfloat16
    print(
        f"{run.settings['arch']}: {count_parameters(run.net):,} parameters, on {run.device}{shared}"
        + (", in bfloat16" if rounded else "")
    )
    print("images: {} to train on, {} to validate, {} to test".format(*counts), flush=True)
    if epoch_size(data.parts) > len(data.train[0]):
        print(f"an epoch shows {epoch_size(data.parts):,} images", flush=True)


def print_summary(run: Run, data: Data, started: float) -> None:
    """What came out, where it is, and what to do next."""
    net = best_network(run).to(run.device)
    row = run.history[run.best["epoch"] - 1]
    training = evaluate(net, *data.train, together=True)
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


def compare_runs(names: list[str], plot: str) -> int:
    """Print the best figures of several runs side by side and draw their curves over each other."""
    from lenet5.evaluation.training_figures import run_comparison

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
@distributed.as_one
def main(argv=None) -> int:
    started = time.perf_counter()
    given = {k: v for k, v in vars(make_parser().parse_args(argv)).items() if v is not None}
    if given.get("arch") == "list":
        print(table_of_networks())
        return 0
    if "compare" in given:
        plot = given.get("plot", COMPARISON_PLOT)
        return compare_runs(given["compare"], plot) if distributed.is_first() else 0
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
