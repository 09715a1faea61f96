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
import math
import statistics
import sys
import time
from pathlib import Path

from torch import nn
from tqdm import tqdm

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.networks.devices import pick_device
from lenet5.networks.registry import table_of_networks
from lenet5.networks.weights import save_weights
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import (
    check_writable,
    write_file,
)
from lenet5.runtime.cli import command_line
from lenet5.runtime.errors import Stopped, UserError, say, user_error
from lenet5.runtime.signals import STOP_STATUS, end_quietly, handling_signals
from lenet5.training.arguments import make_parser
from lenet5.training.checkpoint import Run, best_network, check_steps
from lenet5.training.comparison import COMPARISON_PLOT, compare_runs
from lenet5.training.cuda_graph import CapturedSteps, can_capture
from lenet5.training.distillation import make_lessons
from lenet5.training.epoch import Tally, train_epoch
from lenet5.training.epoch_end import DivergedError, finish_epoch, loss_of_run
from lenet5.training.epoch_plan import EpochPlan
from lenet5.training.optimizers import set_rate
from lenet5.training.progress import RECENT, columns, epoch_line, print_start, print_summary
from lenet5.training.run_folder import (
    as_published,
    compare_conditions,
    metrics_csv,
    new_folder,
    run_folder,
)
from lenet5.training.schedules import SCHEDULES
from lenet5.training.settings import precision_of, settings_of, settle
from lenet5.training.tensorboard import check_tensorboard
from lenet5.training.training_pool import Data
from model import build

ASK_EVERY = 10  # steps, after which several processes agree whether to stop


# ---------------------------------------------------------------- a run and its folder


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
        self.agreed = distributed.all_max(self.requested or 0) or None
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
    folder, settings = distributed.broadcast(lambda: wanted_run(given))
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
    distributed.barrier()
    run.folder = distributed.broadcast(lambda: new_folder(settings, device, data))
    return run, data


@command_line
@distributed.under_torchrun
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
