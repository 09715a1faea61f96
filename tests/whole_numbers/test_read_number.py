"""read_number.py as a person uses it, and NumberReader as a program does."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import read_number
from lenet5.imaging.opening import PictureError
from lenet5.networks.weights import load_weights, save_weights
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers import number_reader
from lenet5.whole_numbers.number_reader import NumberReader, label_of
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line
from tests.whole_numbers.test_strips import FONT, PAGE, draw, true_boxes


@pytest.fixture(scope="module")
def reader():
    return NumberReader(device="cpu")


@pytest.fixture
def pictures(workdir):
    """A number, a page of three, a blank sheet and what is no picture."""
    folder = workdir / "pictures"
    folder.mkdir()
    draw(((40, 30, "1984"),), (260, 120)).save(folder / "number_1984.png")
    draw().save(folder / "page.png")
    Image.new("L", (200, 100), 250).save(folder / "blank.png")
    (folder / "torn.png").write_bytes(b"\x89PNG and no more")
    return folder


def run(capsys, *flags) -> tuple[int, str, str]:
    status = read_number.main([*map(str, flags), "--device", "cpu"])
    out, err = capsys.readouterr()
    return status, out, err


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_page_is_read_in_order_with_boxes(reader):
    (result,) = reader.predict_batch([draw()])
    assert result.prediction == " ".join(text for *_, text in PAGE)
    assert result.confidence == min(number["confidence"] for number in result.numbers)
    for (x, _, text), truth, number in zip(PAGE, true_boxes(), result.numbers, strict=True):
        assert np.abs(np.array(number["box"]) - truth).max() <= 3
        assert number["text"] == text == "".join(str(digit["digit"]) for digit in number["digits"])
        for i, digit in enumerate(number["digits"]):
            # Where the font puts the digit: after those before it.
            start = x + FONT.getlength(text[:i])
            middle = digit["box"][0] + digit["box"][2] / 2
            assert start < middle < start + FONT.getlength(text[i])
            assert 0 <= digit["confidence"] <= 1


def test_paths_images_and_arrays_are_read_alike(reader, pictures):
    path = pictures / "number_1984.png"
    with Image.open(path) as image:
        image.load()
    assert {reader.predict(source) for source in (path, str(path), image, np.asarray(image))} == {"1984"}
    with pytest.raises(PictureError, match=r"torn\.png"):
        reader.predict(pictures / "torn.png")
    assert reader.predict(pictures / "blank.png") is None


def test_json_has_what_the_contract_says(pictures, capsys):
    status, out, err = run(capsys, pictures, "--format", "json")
    assert status == 1  # torn.png
    rows = {row["path"].split("/")[-1]: row for row in objects(out)}
    fields = {"path", "prediction", "confidence", "numbers", "label", "correct", "error"}
    assert rows["number_1984.png"].keys() == fields
    assert rows["number_1984.png"]["label"] == rows["number_1984.png"]["prediction"] == "1984"
    assert rows["number_1984.png"]["correct"] is True
    number = rows["page.png"]["numbers"][1]
    assert number.keys() == {"text", "confidence", "box", "digits"}
    assert number["digits"][0].keys() == {"digit", "confidence", "box"}
    blank = rows["blank.png"]
    assert (blank["prediction"], blank["numbers"]) == (None, [])
    assert blank["reason"].startswith("no number: ")
    assert rows["torn.png"]["error"]
    assert "1 could not be read" in err


def test_table_and_total(pictures, capsys):
    (pictures / "torn.png").unlink()
    (pictures / "number_1985_wrong.png").write_bytes((pictures / "number_1984.png").read_bytes())
    status, out, _ = run(capsys, pictures)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["picture", "sure", "least", "sure", "digit", "read"]
    assert any("number_1984.png" in line and line.endswith("1984 ✓") for line in lines)
    assert any(line.endswith("1984 ✗ is 1985") for line in lines)
    assert any("blank.png" in line and line.endswith("? no number") for line in lines)
    assert "4 read, 1 of 2 right (50.00 %), 1 refused" in lines


def test_csv_holds_the_numbers_as_json(pictures, capsys):
    _, out, _ = run(capsys, pictures / "page.png", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["prediction"] == "2718 36 90210 4"
    assert [number["text"] for number in json.loads(row["numbers"])] == ["2718", "36", "90210", "4"]


@pytest.mark.parametrize("format", ["json", "csv"])
def test_an_output_file_is_continued(pictures, capsys, format):
    (pictures / "torn.png").unlink()
    flags = ["--format", format, "--output", "out"]
    run(capsys, pictures / "blank.png", *flags)
    status, _, err = run(capsys, pictures, *flags)
    assert status == 0
    assert "out holds 1 results" in err
    with open("out") as file:
        rows = list(csv.DictReader(file)) if format == "csv" else objects(file.read())
    names = sorted(row["path"].split("/")[-1] for row in rows)
    assert names == ["blank.png", "number_1984.png", "page.png"]


def test_an_output_file_of_digits_is_not_continued_with_numbers(pictures, capsys):
    row = {"path": "a", "prediction": 1, "confidence": 1.0, "top": [], "label": None, "correct": None}
    with open("out", "w") as file:
        file.write(json.dumps({**row, "error": None}) + "\n")
    status, _, err = run(capsys, pictures, "--output", "out")
    assert status == 2
    assert_one_error_line(err, "out", "holds no json results")


def test_reject_takes_back_what_is_unsure(pictures, tmp_path, capsys):
    net, metadata = load_weights(number_reader.WEIGHTS)
    save_weights(tmp_path / "strict.pth", net, **{**metadata, "reject_below": 1.5})  # nothing is so sure
    strict = ["--weights", tmp_path / "strict.pth"]

    def row(*flags) -> dict:
        status, out, _ = run(capsys, pictures / "number_1984.png", "--format", "json", *flags)
        assert status == 0
        return objects(out)[0]

    refused = row(*strict, "--reject")
    assert refused["prediction"] is None
    assert refused["reason"].startswith("unsure: ")
    assert refused["numbers"][0]["text"] == "1984"  # what it would have been
    assert row(*strict)["prediction"] == row("--reject")["prediction"] == "1984"


def test_the_graph_reads_pictures_too(pictures, capsys):
    status, out, _ = run(capsys, pictures, "--reader", "graph", "--format", "json", "--top-k", 3)
    assert status == 1  # torn.png
    rows = {row["path"].split("/")[-1]: row for row in objects(out)}
    assert rows["number_1984.png"]["prediction"] == "1984"
    number = rows["number_1984.png"]["numbers"][0]
    assert number.keys() == {"text", "confidence", "box", "digits"}  # one path alone, no others
    confidences = [digit["confidence"] for digit in number["digits"]]
    assert number["confidence"] == pytest.approx(np.prod(confidences), abs=1e-5)
    assert rows["blank.png"]["numbers"] == []
    with_other_weights = NumberReader(digit_weights=PRETRAINED, device="cpu")
    assert with_other_weights.predict(pictures / "number_1984.png") == "1984"


def test_one_number_has_any_gaps(workdir, capsys):
    """Four digits on a line, two of them far from the others."""
    draw(((30, 20, "19"), (330, 20, "84")), (460, 100)).save("number_1984.png")

    def read(*flags) -> list[str]:
        _, out, _ = run(capsys, "number_1984.png", "--format", "json", *flags)
        return [number["text"] for number in objects(out)[0]["numbers"]]

    assert read() == ["19", "84"]
    assert read("--one") == read("--one", "--reader", "graph") == ["1984"]


def test_top_k_names_the_likeliest_readings(pictures, capsys):
    _, out, _ = run(capsys, pictures / "page.png", "--format", "json", "--top-k", 3)
    (row,) = objects(out)
    for number in row["numbers"]:
        assert 1 <= len(number["top"]) <= 3
        assert number["top"][0] == [number["text"], number["confidence"]]
        shares = [share for _, share in number["top"]]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-9
        assert len({text for text, _ in number["top"]}) == len(shares)


def test_weights_that_lost_their_metadata_are_read_all_the_same(pictures, capsys):
    bare = dict(torch.load(number_reader.WEIGHTS, weights_only=True))
    torch.save(bare, "bare.pth")
    _, out, err = run(capsys, pictures / "number_1984.png", "--weights", "bare.pth")
    assert "1984 ✓" in out
    assert "assuming lenet5-wide" in err
    flags = ["--weights", "bare.pth", "--arch", "lenet5-wide"]
    assert "1984 ✓" in run(capsys, pictures / "number_1984.png", *flags)[1]
    status, _, err = run(capsys, pictures, "--weights", "bare.pth", "--arch", "lenet5-tanh")
    assert status == 2
    assert_one_error_line(err, "bare.pth", "lenet5-tanh")


@pytest.mark.parametrize("kind", ["network", "graph"])
def test_a_figure_is_drawn(pictures, capsys, kind):
    flags = ["--reader", kind, "--plot", "numbers.png"]
    status, _, err = run(capsys, pictures / "page.png", *flags)
    assert status == 0
    assert "drawn: numbers.png" in err
    with Image.open("numbers.png") as figure:
        colours = np.asarray(figure.convert("RGB")).reshape(-1, 3)
    orange = np.abs(colours.astype(int) - (0xE6, 0x9F, 0x00)).max(axis=1) < 30
    assert orange.sum() > 500  # boxes and paths


def test_without_paths_the_ten_digits_are_read(workdir, capsys):
    (workdir / "test_digits").symlink_to(ROOT / "test_digits")
    status, out, _ = run(capsys)
    assert status == 0
    assert out.splitlines()[-1] == "10 read, 10 of 10 right (100.00 %)"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights", "none.pth"], ["none.pth"]),
        (["--weights", PRETRAINED], ["lenet5.pth", "does not read whole numbers"]),
        (
            ["--reader", "graph", "--digit-weights", number_reader.WEIGHTS],
            ["lenet5-numbers.pth", "does not read the ten digits"],
        ),
        (["--reader", "graph", "--digit-weights", "none.pth"], ["none.pth"]),
        (["--reader", "network", "--digit-weights", PRETRAINED], ["lenet5.pth", "give --weights"]),
        (["--reader", "graph", "--weights", number_reader.WEIGHTS], ["give --digit-weights"]),
        (["--reader", "graph", "--arch", "lenet5-1998"], ["lenet5-1998"]),
        (["--plot", "no/folder.png"], ["no/folder.png"]),
        (["--output", "no/folder"], ["no/folder"]),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(workdir, capsys, flags, words):
    status, out, err = run(capsys, ROOT / "test_digits", *flags)
    assert (status, out) == (2, "")
    assert_one_error_line(err, *words)


def test_the_label_is_in_the_name():
    names = ("a/number_90210.png", "number_007_b.png", "digit_7_font.png", "digit_77.png", "7/scan.png")
    assert [label_of(name) for name in names] == ["90210", "007", "7", None, None]


@pytest.mark.parametrize(("name", "value"), [("invert", "maybe"), ("reader", "foo")])
def test_unknown_choices_are_named(name, value):
    with pytest.raises(UserError, match=f"{name} is '{value}'"):
        NumberReader(**{name: value})
