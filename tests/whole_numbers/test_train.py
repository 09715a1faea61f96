"""lenet5.whole_numbers.train: a short run, how strips are varied, calibration by hand."""

import csv
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from lenet5.data.number_pictures import MOST_CHARACTERS
from lenet5.networks.weights import load_weights
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers import train
from lenet5.whole_numbers.found_strips import Strips
from lenet5.whole_numbers.space_displacement import BLANK, CLASSES
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line, first_of

SHORT = ["--strings", "100", "--val-size", "20", "--epochs", "2", "--batch-size", "16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder in which the strips of all runs are kept."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def flags(data, no_workers, workdir, monkeypatch, pool, mnist):
    """Those of a run of a few seconds."""
    monkeypatch.setattr(train, "load_mnist", lambda folder: first_of(mnist, 100, 100))
    monkeypatch.setattr(train, "load_pool", lambda *arguments: pool)
    return ["--data-dir", str(data), *SHORT]


@pytest.fixture
def still(monkeypatch):
    for name in ("SLANT", "HEIGHT", "MOVED", "GAMMA"):
        monkeypatch.setattr(train, name, 0.0)


def random_strips(count: int, height: int = 32, width: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width), generator=generator).byte()


# ---------------------------------------------------------------- what is learned


def test_batches_are_strips_about_as_wide_as_each_other():
    widths = torch.randperm(50, generator=torch.Generator().manual_seed(0)) + 20
    digits = torch.zeros(50, MOST_CHARACTERS)
    strips = Strips(torch.zeros(32, int(widths.sum())), widths.cumsum(0), digits, digits)
    places = torch.arange(5, 50)
    found = train.batches(strips, places, 8, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(found).tolist()) == places.tolist()
    assert [len(part) for part in found].count(8) == 5
    spans = [(int(widths[part].min()), int(widths[part].max())) for part in found]
    assert spans != sorted(spans)  # in random order
    assert all(high < low for (_, high), (low, _) in pairwise(sorted(spans)))


def test_strips_without_variation_stay_as_they_are(still):
    strips = random_strips(4)
    assert torch.equal(train.augmented(strips, torch.Generator()), strips)


def test_levels_are_varied_within_bounds(still, monkeypatch):
    monkeypatch.setattr(train, "GAMMA", 0.4)
    strips = torch.full((500, 1, 3), 0).byte()
    strips[:, 0] = torch.tensor([0, 64, 255])
    found = train.augmented(strips, torch.Generator().manual_seed(0))[:, 0].float()
    assert not found[:, 0].any()
    assert (found[:, 2] == 255).all()
    low, high = (255 * (64 / 255) ** math.exp(side * 0.4) for side in (1, -1))
    assert low - 1 <= found[:, 1].min() < low + 3
    assert high - 3 < found[:, 1].max() <= high + 1


def rows_and_columns(name: str, most: float, monkeypatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a square of 12×12 in 300 strips varied in one way: the mean row and column of each row's ink,
    and how many rows have some."""
    monkeypatch.setattr(train, name, most)
    strips = torch.zeros(300, 32, 60, dtype=torch.uint8)
    strips[:, 10:22, 24:36] = 255
    found = train.augmented(strips, torch.Generator().manual_seed(0)).float() / 255
    columns = (found * torch.arange(60)).sum(dim=2) / found.sum(dim=2)  # of each row's ink
    return found.sum(dim=2), columns


def test_strips_are_moved_and_made_higher_within_bounds(still, monkeypatch):
    amounts, columns = rows_and_columns("MOVED", 1.5, monkeypatch)
    middles = (amounts * torch.arange(32)).sum(dim=1) / amounts.sum(dim=1) - 15.5
    assert 1.3 < middles.abs().max() < 1.55
    assert columns[:, 15].sub(29.5).abs().max() < 0.05  # not sideways
    monkeypatch.setattr(train, "MOVED", 0.0)
    amounts, _ = rows_and_columns("HEIGHT", 0.12, monkeypatch)
    heights = amounts.sum(dim=1) / 12
    assert 12 * math.exp(-0.12) - 0.2 < heights.min() < 12 * math.exp(-0.1)
    assert 12 * math.exp(0.1) < heights.max() < 12 * math.exp(0.12) + 0.2


def test_strips_are_slanted_within_bounds(still, monkeypatch):
    _, columns = rows_and_columns("SLANT", 0.15, monkeypatch)
    slants = (columns[:, 20] - columns[:, 11]) / 9  # pixels a row
    assert 0.13 < slants.abs().max() < 0.155
    assert (slants > 0).any()
    assert (slants < 0).any()


# ---------------------------------------------------------------- what is kept with the weights


def one_window(text: str, answer: int, odds: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of a strip of one window, its width and its digits: `answer` and 5, e^odds to 1."""
    logits = torch.full((1, 1, 11), -1000.0)
    logits[0, 0, [5, answer]] = torch.tensor([0.0, odds])
    digits = torch.full((1, MOST_CHARACTERS), -1)
    digits[0, : len(text)] = torch.tensor([int(c) for c in text])
    return logits, torch.tensor([1]), digits


def test_temperature_gives_the_probability_that_is_true():
    """Four answers with odds of 9 to 1, of which three are right: the odds are 3 to 1, √9."""
    found = [one_window(text, 7, math.log(9)) for text in ("7", "7", "5", "7")]
    assert train.calibration(found)["temperature"] == 2.0


def test_the_limit_leaves_nearly_only_right_answers(monkeypatch):
    monkeypatch.setattr(train, "TEMPERATURES", [1.0])
    found = [
        one_window("7", 7, math.log(2)),  # 2 of 3, right
        one_window("7", 7, math.log(9)),  # 9 of 10, right
        one_window("5", 7, math.log(4)),  # 4 of 5, wrong
        one_window("", BLANK, math.log(99)),  # no answer
        one_window("7", 7, math.log(5)),  # 5 of 6, right
    ]
    assert train.calibration(found)["reject_below"] == pytest.approx(5 / 6)
    monkeypatch.setattr(train, "RIGHT", 0.75)
    assert train.calibration(found)["reject_below"] == pytest.approx(2 / 3)
    assert train.calibration(found[3:4])["reject_below"] == 1.0


# ---------------------------------------------------------------- a run


def test_an_interrupted_run_goes_on_to_the_same_weights(flags, monkeypatch, capsys):
    assert train.main([*flags, "--run", "whole", "--output", "whole.pth"]) == 0
    epoch, calls = train.train_epoch, []

    def stop_in_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise UserError("stopped")
        return epoch(*arguments)

    parts = [*flags, "--run", "parts", "--output", "parts.pth"]
    monkeypatch.setattr(train, "train_epoch", stop_in_the_second)
    assert train.main(parts) == 2
    assert not Path("parts.pth").exists()
    monkeypatch.setattr(train, "train_epoch", epoch)
    assert train.main(parts) == 0
    assert Path("whole.pth").read_bytes() == Path("parts.pth").read_bytes()
    with open("parts/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["right"]) <= 1 for row in rows)
    _, metadata = load_weights("whole.pth")
    assert (metadata["arch"], metadata["classes"]) == ("lenet5-wide", CLASSES)
    assert metadata["val_accuracy"] == float(rows[-1]["right"])
    assert metadata["temperature"] in train.TEMPERATURES
    assert 0 < metadata["reject_below"] <= 1
    assert 0 <= metadata["test_accuracy"] <= 1
    # The finished run again, then with other flags.
    Path("parts.pth").unlink()
    assert train.main(parts) == 0
    assert Path("whole.pth").read_bytes() == Path("parts.pth").read_bytes()
    capsys.readouterr()
    assert train.main([*parts, "--lr", "0.1"]) == 2
    assert_one_error_line(capsys.readouterr().err, "checkpoint.pth", "other flags")


def test_windows_beyond_a_strip_are_not_read(monkeypatch):
    """Two strips of 3 and 7 pixels: in the third window there is a 7, in the fourth an 8."""
    logits = torch.full((2, 4, 11), 0.0)
    logits[:, [0, 1], BLANK] = 5
    logits[:, 2, 7] = logits[:, 3, 8] = 5
    digits = torch.full((2, MOST_CHARACTERS), -1)
    digits[1, :2] = torch.tensor([7, 8])
    strips = Strips(torch.zeros(32, 10), torch.tensor([3, 10]), digits, digits)
    monkeypatch.setattr(
        train, "held_out_logits", lambda net, strips: [(logits, strips.widths(), strips.digits)]
    )
    assert train.share_right(None, strips) == 1.0


def test_a_flag_of_older_versions_is_known(flags, capsys):
    assert train.main([*flags, "--windows-epochs", "3", "--epochs", "1", "--run", "old"]) == 0
    assert "--windows-epochs has no effect" in capsys.readouterr().err


def test_it_goes_on_from_a_network_of_numbers():
    path = PRETRAINED.with_name("lenet5-numbers.pth")
    first, net = train.first_network(path), load_weights(path)[0]
    assert all(map(torch.equal, first.state_dict().values(), net.state_dict().values()))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--init-from", "none.pth"], ["none.pth"]),
        (
            ["--init-from", ROOT / "pretrained" / "lenet-gap.pth"],
            ["lenet-gap", "reads no whole numbers"],
        ),
        (["--output", "no/folder.pth"], ["no/folder.pth"]),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(workdir, capsys, flags, words):
    assert train.main([*map(str, flags), "--data-dir", str(ROOT / "data")]) == 2
    assert_one_error_line(capsys.readouterr().err, *words)


def test_the_figure_has_fifty_numbers(flags, workdir):
    assert train.main([*flags, "--figure", "numbers.png"]) == 0
    with Image.open("numbers.png") as image:
        assert image.size == (5 * 256, 10 * 2 * 64)
