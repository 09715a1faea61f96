"""A run with averaged weights: its steps, its files, resuming to the bit."""

import csv

import pytest
import torch
from torch import nn

from lenet5.runtime.errors import UserError
from lenet5.training.averaged_run import AveragedRun

SETTINGS = {"lr": 0.01, "seed": 3}
STEPS = 6


def run_in(folder, settings: dict | None = None, **options) -> AveragedRun:
    torch.manual_seed(0)
    options = {"decay": 0.9, "columns": ("epoch", "train_loss", "seconds"), **options}
    return AveragedRun(nn.Linear(4, 2), settings or SETTINGS, folder, **options)


def learn(run: AveragedRun, until: int) -> None:
    """Steps with data of their own, a row after every second one."""
    for step in range(run.average.steps, until):
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        run.step(run.net(inputs).square().mean(), step / STEPS)
        if step % 2:
            run.keep({"epoch": step // 2 + 1})


def test_an_interrupted_run_goes_on_to_the_bit(tmp_path):
    whole = run_in(tmp_path / "whole")
    learn(whole, STEPS)
    learn(run_in(tmp_path / "parts"), 4)
    lost = run_in(tmp_path / "parts")
    learn(lost, 5)  # without a checkpoint of its last step
    parts = run_in(tmp_path / "parts")
    assert (parts.average.steps, len(parts.history)) == (4, 2)
    learn(parts, STEPS)
    for a, b in ((whole.net, parts.net), (whole.average.net, parts.average.net)):
        assert all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))
    assert [row["train_loss"] for row in parts.history] == [row["train_loss"] for row in whole.history]
    assert not torch.equal(parts.net.weight, parts.average.net.weight)
    with open(tmp_path / "parts" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_a_row_has_the_mean_loss_since_the_last_one(tmp_path, capsys):
    run = run_in(tmp_path)
    losses = []
    for step in range(4):
        loss = run.net(torch.ones(1, 4)).square().mean()
        losses.append(loss.item())
        run.step(loss, step / 4)
        if step in (0, 3):
            run.keep({"epoch": step})
    found = [row["train_loss"] for row in run.history]
    assert found == pytest.approx([losses[0], sum(losses[1:]) / 3], rel=1e-6)
    assert "epoch 3" in capsys.readouterr().out


def test_long_gradients_are_cut(tmp_path):
    run = run_in(tmp_path, max_grad_norm=0.5)
    run.step(1000 * run.net(torch.ones(1, 4)).square().mean(), 0.0)
    norms = [parameter.grad.norm() for parameter in run.net.parameters()]
    assert torch.stack(norms).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_other_settings_are_refused(tmp_path):
    learn(run_in(tmp_path), 2)
    with pytest.raises(UserError, match=r"checkpoint\.pth is of a run with other flags.* --run"):
        run_in(tmp_path, {**SETTINGS, "lr": 0.02})


@pytest.mark.parametrize("part", ["net", "average", "optimizer", "history", "steps"])
def test_a_damaged_checkpoint_is_named(tmp_path, part):
    learn(run_in(tmp_path), 2)
    path = tmp_path / "checkpoint.pth"
    state = torch.load(path, weights_only=True)
    torch.save({**state, part: {"weight": torch.zeros(2, 5)}}, path)
    with pytest.raises(UserError, match=r"checkpoint\.pth is damaged"):
        run_in(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"checkpoint\.pth is damaged"):
        run_in(tmp_path)
