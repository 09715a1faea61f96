"""The finder's training: its loss by hand, resuming to the bit, its figure."""

import pytest
import torch
from PIL import Image

from lenet5.networks.finder import Finder, FinderNetwork
from lenet5.runtime.errors import UserError
from lenet5.training import averaged_run, finder
from tests.conftest import ROOT
from tests.data.conftest import small_pool

SHORT = ["--data-dir", str(ROOT / "data"), "--steps", "4", "--batch-size", "4"]


@pytest.fixture(autouse=True)
def small(workdir, monkeypatch):
    """A small pool, and a row after every second step."""
    monkeypatch.setattr(finder, "load_pool", lambda *arguments: small_pool())
    monkeypatch.setattr(finder, "EVERY", 2)
    monkeypatch.setattr(finder, "HELD_OUT", 8)


def test_overlap_by_hand():
    masks = torch.zeros(1, 2, 64, 64)
    masks[:, :, :20, :10] = 1
    logits = torch.full((1, 2, 64, 64), -50.0)
    logits[:, 0, :20, :10] = 50
    logits[:, 1, 40:, :] = 50
    smooth = finder.SMOOTH
    wanted = [1.0, smooth / (200 + 24 * 64 + smooth)]
    torch.testing.assert_close(finder.overlap(logits, masks)[0], torch.tensor(wanted))


def test_numbers_teach_the_second_output_alone():
    masks = torch.rand(2, 1, 32, 128).round()
    logits = torch.randn(2, 2, 32, 128)
    other = torch.stack([torch.randn(2, 32, 128), logits[:, 1]], dim=1)
    assert finder.loss_of(logits, masks, 0.5) == finder.loss_of(other, masks, 0.5)


def test_the_second_cycle_learns_from_cross_entropy_alone():
    masks = torch.rand(2, 2, 64, 64).round()
    logits = torch.randn(2, 2, 64, 64)
    entropy = -torch.where(masks > 0, logits.sigmoid(), 1 - logits.sigmoid()).log().mean()
    torch.testing.assert_close(finder.loss_of(logits, masks, 0.8), 2 * entropy)
    torch.testing.assert_close(
        finder.loss_of(logits, masks, 0.79), 2 * entropy + 1 - finder.overlap(logits, masks).mean()
    )
    assert finder.rate_at(0.04) == finder.rate_at(0.81) / finder.SECOND_LR == 1
    assert max(finder.rate_at(0.8 - 1e-9), finder.rate_at(1)) < 1e-4


def test_the_network_has_at_most_60000_parameters_and_any_size():
    net = Finder().eval()
    assert sum(parameter.numel() for parameter in net.parameters()) <= 60_000
    assert net(torch.rand(2, 3, 32, 112)).shape == (2, 2, 32, 112)


def test_an_interrupted_run_gives_the_same_weights(workdir, monkeypatch):
    assert finder.main([*SHORT, "--run", "a", "--output", "a.pth"]) == 0
    write = averaged_run.write_checkpoint

    def write_and_fail(path, state):
        write(path, state)
        raise UserError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(averaged_run, "write_checkpoint", write_and_fail)
        assert finder.main([*SHORT, "--run", "b", "--output", "b.pth"]) == 2
    assert finder.main([*SHORT, "--run", "b", "--output", "b.pth"]) == 0
    assert (workdir / "a.pth").read_bytes() == (workdir / "b.pth").read_bytes()
    rows = (workdir / "b" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]
    masks = FinderNetwork("a.pth")(torch.zeros(1, 3, 64, 64, dtype=torch.uint8).numpy())
    assert masks.shape == (1, 2, 64, 64)


def test_a_run_with_other_flags_is_refused(capsys):
    assert finder.main([*SHORT, "--steps", "2", "--run", "a"]) == 0
    assert finder.main([*SHORT, "--lr", "1e-3", "--steps", "2", "--run", "a"]) == 2
    assert "--run" in capsys.readouterr().err


def test_the_figure_has_a_hundred_pictures(workdir):
    assert finder.main([*SHORT, "--figure", "figure.jpg"]) == 0
    with Image.open(workdir / "figure.jpg") as image:
        assert image.size == (20 * 96, 5 * 192)
        assert image.format == "JPEG"
