"""A run's checkpoint and history: what was saved comes back, and what is not so is refused."""

import csv
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from lenet5.networks.weights import save_weights, serialize, weights_with_metadata
from lenet5.runtime.errors import UserError
from lenet5.training import checkpoint, run_folder
from lenet5.training.checkpoint import Run
from lenet5.training.epoch import train_epoch
from lenet5.training.epoch_end import training_step
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.recipes import Settings
from lenet5.training.run_folder import COLUMNS
from model import LeNet5, build

CPU = torch.device("cpu")
DIGITS = [str(digit) for digit in range(10)]
BATCH, STEPS = 10, 4  # of an epoch on forty pictures
KINDS = {
    "adam": {},
    "sgd": {"optimizer": "sgd"},
    "muon": {"optimizer": "muon"},
    "averaged": {"optimizer": "adamw", "average": 0.9, "weight_decay": 0.05},
    "1998": {"arch": "lenet5-1998", "optimizer": "sdlm", "lr": 1e-4},
}


def new_run(folder: Path | None, classes=DIGITS, **changes) -> Run:
    return Run(Settings(batch_size=BATCH, **changes), folder, CPU, classes)


def learn(run: Run, steps: int, seed: int = 0) -> None:
    """Some steps of an epoch on noise, in the order that the run's generator draws."""
    noise = torch.Generator().manual_seed(seed)
    inputs = torch.randn(BATCH * STEPS, 1, 32, 32, generator=noise)
    labels = torch.randint(10, (len(inputs),), generator=noise)
    plan = EpochPlan(TrainingPool(inputs, labels), None, run.generator)
    train_epoch(training_step(run), plan, BATCH, before_step=lambda step: step < steps)
    run.step += steps


def figures(epoch: int, **changes) -> dict:
    return dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch} | changes


def finish_first_epoch(run: Run) -> None:
    run.history = [figures(1)]
    metadata = {"classes": DIGITS, "test_accuracy": 0.5, "epoch": 1}
    run.best = {"epoch": 1, "weights": weights_with_metadata(run.eval_net), "metadata": metadata}


def same(one, other) -> bool:
    """Whether two states are equal, tensor by tensor."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a run of each kind that has done an epoch and three steps."""
    folders = {}
    for kind, settings in KINDS.items():
        run = new_run(tmp_path_factory.mktemp(kind), **settings)
        learn(run, STEPS)
        finish_first_epoch(run)
        drawn = run.generator.get_state()
        learn(run, 3, seed=1)
        run.step_in_epoch, run.tally, run.seconds = 3, [1.0, 2.0, 3.0, 4.0], 0.25
        run.save_checkpoint(drawn)
        folders[kind] = run.folder
    return folders


def state_in(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pth", weights_only=True)


# ---------------------------------------------------------------- a checkpoint


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_from_a_checkpoint_is_the_run_that_was_saved(saved, kind, tmp_path):
    """All of its state comes back, and the next steps are the same to the bit."""
    ends = []
    for copy in ("one", "two"):
        (tmp_path / copy).mkdir()
        shutil.copy(saved[kind] / "checkpoint.pth", tmp_path / copy)
        run = new_run(tmp_path / copy, seed=7, **KINDS[kind])
        assert run.load_checkpoint()
        assert same(run.state(run.generator.get_state()), state_in(saved[kind]))
        learn(run, 2, seed=2)
        run.save_checkpoint(run.generator.get_state())
        ends.append((tmp_path / copy / "checkpoint.pth").read_bytes())
    assert ends[0] == ends[1]


def test_before_the_first_step_there_may_be_a_checkpoint_or_none(tmp_path):
    run = new_run(tmp_path)
    assert run.load_checkpoint() is False
    run.save_checkpoint(run.generator.get_state())
    later = new_run(tmp_path, seed=1)
    assert later.load_checkpoint()
    assert same(later.net.state_dict(), run.net.state_dict())
    assert later.optimizer.state_dict()["state"] == {}


GONE = object()


def change(state, path: tuple, value):
    """A state with the value at a path changed, or called with what is there, or taken out."""
    if not path:
        return value
    place = state
    for name in path[:-1]:
        place = place[name]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return state


NET, LR = ("net", "c1.bias"), ("history", 0, "lr")
ODD = [  # what is changed, and a word of the reason
    ((), torch.zeros(3), "Tensor"),
    (("net",), GONE, "names"),
    (NET, GONE, "names"),
    (NET, [0.0] * 6, "c1.bias"),
    (NET, lambda t: t.to("meta"), "c1.bias"),
    (NET, lambda t: t.to_sparse(), "c1.bias"),
    (NET, torch.zeros(1, 6), "c1.bias is (1, 6)"),
    (NET, torch.zeros(6).double(), "torch.float64"),
    (("average", "net", "c1.bias"), torch.zeros(7), "c1.bias is (7,)"),
    *((("average", "steps"), value, "steps") for value in ("x", True, -1, 2**63 - 1)),
    (("optimizer", "state"), lambda s: {99: s[0]}, "optimizer"),
    (("optimizer", "state", 0), lambda s: {k: torch.zeros(2) for k in s}, "step is (2,)"),
    (("optimizer", "param_groups"), lambda groups: groups * 2, ""),
    (("generator",), lambda t: t[:5], "generator"),
    (("torch_generator",), "x", "generator"),
    (("history",), "x", "history"),
    *((LR, value, "lr") for value in (None, torch.ones(1), float("nan"))),
    (("history", 0, "x"), 1.0, "history"),
    (("history",), lambda h: h * 2, "row 2 is of epoch 1"),
    (("history",), [], "best"),
    (("best",), None, "best"),
    *((("best", "epoch"), value, "epoch") for value in (2, 0, 1.0)),
    (("best", "weights", "c1.bias"), torch.zeros(7), "c1.bias is (7,)"),
    (("best", "metadata", "classes"), ["cat", "dog"], "classes"),
    (("best", "metadata", "arch"), "lenet9", "best epoch"),
    (("step_in_epoch",), 8, "more steps"),
    (("tally",), [1.0, 2.0], "tally"),
    (("tally", 2), "3", "tally"),
    (("seconds",), "x", "seconds"),
    (("finished",), None, "finished"),
]


def assert_refused(state, folder: Path, kind: str, word: str) -> None:
    (folder / "checkpoint.pth").write_bytes(serialize(state))
    with pytest.raises(UserError, match=r"checkpoint.pth is damaged \(.*\); delete it") as refused:
        new_run(folder, **KINDS[kind]).load_checkpoint()
    assert word in str(refused.value)


@pytest.mark.parametrize(("path", "value", "word"), ODD)
def test_an_odd_checkpoint_is_refused_with_the_reason(saved, tmp_path, path, value, word):
    """Also one that PyTorch accepts, and would fail with later, or compute with unseen."""
    assert_refused(change(state_in(saved["averaged"]), path, value), tmp_path, "averaged", word)


@pytest.mark.parametrize(("name", "value"), [("learned", -1), ("measured_at", 0.5)])
def test_an_odd_count_of_patterns_is_refused(saved, tmp_path, name, value):
    state = change(state_in(saved["1998"]), ("optimizer", "param_groups", 0, name), value)
    assert_refused(state, tmp_path, "1998", name)


def test_an_optimizer_keeps_its_settings_whatever_a_checkpoint_says(saved, tmp_path):
    """They are in config.json, where a person reads them."""
    state = state_in(saved["adam"])
    (group,) = state["optimizer"]["param_groups"]
    group |= {"betas": (-5.0, "x"), "maximize": True, "fused": None, "weight_decay": 1e9}
    (tmp_path / "checkpoint.pth").write_bytes(serialize(state))
    run = new_run(tmp_path, lr=0.003, weight_decay=0.25)
    (before,) = run.optimizer.state_dict()["param_groups"]
    assert run.load_checkpoint()
    assert run.optimizer.state_dict()["param_groups"] == [before]
    assert (before["lr"], before["weight_decay"]) == (0.003, 0.25)


def test_a_checkpoint_too_large_is_not_read_or_unpacked(saved, tmp_path, monkeypatch):
    shutil.copy(saved["adam"] / "checkpoint.pth", tmp_path)
    monkeypatch.setattr(checkpoint, "LARGEST_CHECKPOINT", 1000)
    with pytest.raises(UserError, match=r"1,000"):
        new_run(tmp_path).load_checkpoint()
    with zipfile.ZipFile(tmp_path / "checkpoint.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20_000_000))
    monkeypatch.setattr(checkpoint, "LARGEST_CHECKPOINT", 10_000_000)
    with pytest.raises(UserError, match=r"unpacks to 20,000,"):
        new_run(tmp_path).load_checkpoint()


# ---------------------------------------------------------------- steps and epochs


def test_the_steps_of_a_run():
    """Of 95 images in batches of 10 the tenth batch has five."""
    run = new_run(None, epochs=3)
    assert (run.steps_per_epoch(95), run.steps_per_epoch(90), run.total_steps(95)) == (10, 9, 30)
    assert new_run(None, epochs=3, max_steps=7).total_steps(95) == 7
    assert new_run(None, epochs=3, max_steps=99).total_steps(95) == 30
    assert new_run(None, epochs=3, dry_run=True).total_steps(95) == 20  # two epochs
    assert new_run(None, epochs=1, dry_run=True).total_steps(95) == 10


@pytest.mark.parametrize(
    ("epochs", "step", "in_epoch", "is_right"),
    [
        (0, 0, 0, True),
        (0, 9, 9, True),
        (0, 10, 10, False),  # then the epoch is finished and has figures
        (1, 10, 0, True),
        (1, 13, 3, True),
        (1, 7, 0, True),  # --max-steps 7 ended it
        (1, 3, 3, False),
        (0, 10, 0, False),
        (2, 10, 0, False),
        (1, 20, 0, False),
    ],
)
def test_steps_and_epochs_have_to_agree(tmp_path, epochs, step, in_epoch, is_right):
    run = new_run(tmp_path)
    run.history, run.step, run.step_in_epoch = [{}] * epochs, step, in_epoch
    if is_right:
        checkpoint.check_steps(run, 95)
        return
    with pytest.raises(UserError, match=r"checkpoint.pth is damaged \(its steps\); delete it to start"):
        checkpoint.check_steps(run, 95)


# ---------------------------------------------------------------- the first and the best weights


def test_the_seed_and_init_draw_the_first_weights():
    def drawn(**settings) -> dict:
        return new_run(None, **settings).net.state_dict()

    assert same(drawn(), drawn())
    assert not same(drawn(), drawn(seed=1))
    torch.manual_seed(0)
    expected = build("lenet5").apply(checkpoint.INITIALISATIONS["xavier"])
    assert same(drawn(init="xavier"), expected.state_dict())
    assert not same(drawn(), expected.state_dict())


def test_init_from_takes_all_layers_or_all_but_the_outputs(tmp_path, capsys):
    torch.manual_seed(99)
    path, net = tmp_path / "w.pth", LeNet5()
    for p in net.parameters():
        p.data += 0.01  # the biases begin with 0
    save_weights(path, net)
    start = str(path)
    with pytest.raises(UserError, match="lenet5"):
        new_run(None, arch="lenet-gap", init_from=start)
    assert same(new_run(None, init_from=start).net.state_dict(), net.state_dict())
    assert capsys.readouterr().err == ""
    other = new_run(None, classes=["a", "b", "c"], init_from=start).net.state_dict()
    for name, tensor in net.state_dict().items():
        assert name.startswith("output") or torch.equal(other[name], tensor)
    assert len(other["output.bias"]) == len(other["output.weight"]) == 3
    assert str(path) in capsys.readouterr().err
    renamed = new_run(None, classes=list("abcdefghij"), init_from=start).net.state_dict()
    assert not torch.equal(renamed["output.weight"], net.state_dict()["output.weight"])


def test_the_best_weights_are_those_of_their_epoch():
    run = new_run(None, average=0.9)
    assert run.eval_net is run.average.net
    learn(run, 2)
    finish_first_epoch(run)
    best = {name: tensor.clone() for name, tensor in run.eval_net.state_dict().items()}
    learn(run, 2)
    assert same(dict(checkpoint.best_network(run).state_dict()), best)
    assert not same(dict(run.eval_net.state_dict()), best)


# ---------------------------------------------------------------- the run's folder and history


def test_a_run_is_found_by_its_folder_and_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/first").mkdir(parents=True)
    Path("runs/first/config.json").write_text("{}")
    Path("elsewhere").mkdir()
    assert run_folder.run_folder("first") == run_folder.run_folder("runs/first") == Path("runs/first")
    for name in ("second", "elsewhere", "runs"):
        with pytest.raises(UserError, match=f"{name} is no run"):
            run_folder.run_folder(name)


def test_the_best_epoch_is_chosen_by_validation_alone():
    def row(accuracy, loss, test):
        return {"val_accuracy": accuracy, "val_loss": loss, "test_accuracy": test}

    assert run_folder.is_better(row(0.9, 1, 0), None)
    assert run_folder.is_better(row(0.91, 9, 0.1), row(0.90, 1, 0.9))
    assert not run_folder.is_better(row(0.90, 1, 0.9), row(0.91, 9, 0.1))
    assert run_folder.is_better(row(0.9, 0.5, 0), row(0.9, 0.6, 1))
    assert not run_folder.is_better(row(0.9, 0.6, 1), row(0.9, 0.6, 0))
    assert run_folder.is_better(row(None, None, 0), row(None, None, 1))  # without validation, the last


@pytest.mark.parametrize("val", [{}, {"val_loss": None, "val_accuracy": None}])
def test_metrics_come_back_as_numbers(tmp_path, val):
    rows = [figures(1, lr=0.008, seconds=5.1234567, **val), figures(2, train_loss=1e30, **val)]
    text = run_folder.metrics_csv(rows)
    head, first, _, end = text.split("\n")
    assert (
        head
        == "epoch,train_loss,train_accuracy,val_loss,val_accuracy,test_loss,test_accuracy,lr,seconds"
    )
    assert first.endswith(",0.008,5.123")
    assert end == ""
    (tmp_path / "metrics.csv").write_text(text)
    assert run_folder.read_metrics(tmp_path) == [rows[0] | {"seconds": 5.123}, rows[1]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({name: ""}, name) for name in ("seconds", "val_loss", "val_accuracy")),
        ({"lr": "nan"}, "nan"),
        ({"test_loss": "1e999"}, "inf"),
        ({"train_loss": "-1e999"}, "-inf"),
        ({"epoch": "7"}, "row 2 is of epoch 7"),
        ({"val_loss": "", "val_accuracy": ""}, "epoch 2"),
        ({"lr": "quick"}, "quick"),
        ({"test_accuracy": "1.5"}, "test_accuracy"),
        ({"val_accuracy": "-0.1"}, "val_accuracy"),
    ],
)
def test_odd_metrics_are_refused_with_the_reason(tmp_path, changes, words):
    with open(tmp_path / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([figures(1), figures(2) | changes])
    with pytest.raises(UserError, match=r"metrics.csv is not a metrics file: ") as refused:
        run_folder.read_metrics(tmp_path)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "content", [",".join(COLUMNS) + "\n", "", "epoch,lr\n1,0.5\n", ",".join(COLUMNS) + "\n1,2\n", "\xff"]
)
def test_what_is_no_table_of_epochs(tmp_path, content):
    (tmp_path / "metrics.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"metrics\.csv"):
        run_folder.read_metrics(tmp_path)
