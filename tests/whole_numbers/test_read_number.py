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
from lenet5.whole_numbers import number_reader, strip_reader
from lenet5.whole_numbers.number_reader import NumberReader, label_of
from lenet5.whole_numbers.space_displacement import STRIDE
from lenet5.whole_numbers.strip_reader import StripReader
from lenet5.whole_numbers.strips import numbers_in
from lenet5.whole_numbers.synthetic_numbers import PLAIN, make_strings
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


def test_the_reader_does_not_depend_on_the_batch(reader, mnist):
    made = make_strings(mnist.train_images[:500], mnist.train_labels[:500], 12, 0, style=PLAIN)
    strips = made.strips()
    together = reader.reader.read(strips)
    alone = [reader.reader.read([strip])[0] for strip in strips]
    assert [reading.text for reading in together] == [reading.text for reading in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.confidence == pytest.approx(b.confidence, abs=1e-3)
        assert a.boxes == b.boxes
        assert len(a.digits) == len(a.boxes) == len(a.confidences) == len(a.windows)


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
    net, metadata = load_weights(number_reader.WEIGHTS[0])
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


def test_several_networks_give_their_mean(pictures, capsys, find):
    first, second = number_reader.WEIGHTS
    strips = [strip.picture for strip in numbers_in(draw(), find)]
    both, one, other = (
        NumberReader(weights, device="cpu").reader.shares(strips)
        for weights in ([first, second], first, [second])
    )
    for mean, a, b in zip(both, one, other, strict=True):
        np.testing.assert_allclose(mean, (a + b) / 2, atol=1e-6)
        np.testing.assert_allclose(mean.sum(axis=1), 1, atol=1e-6)

    def confidence(*flags) -> float:
        _, out, _ = run(capsys, pictures / "page.png", "--format", "json", *flags)
        return objects(out)[0]["confidence"]

    assert confidence("--weights", first, "--weights", second) == confidence()
    assert confidence("--weights", first) != confidence()


def test_top_k_names_the_likeliest_readings(pictures, capsys):
    _, out, _ = run(capsys, pictures / "page.png", "--format", "json", "--top-k", 3)
    (row,) = objects(out)
    for number in row["numbers"]:
        assert 1 <= len(number["top"]) <= 3
        assert number["top"][0][0] == number["text"]
        shares = [share for _, share in number["top"]]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-9
        assert len({text for text, _ in number["top"]}) == len(shares)


def test_weights_that_lost_their_metadata_are_read_all_the_same(pictures, capsys):
    bare = dict(torch.load(number_reader.WEIGHTS[0], weights_only=True))
    torch.save(bare, "bare.pth")
    _, out, err = run(capsys, pictures / "number_1984.png", "--weights", "bare.pth")
    assert "1984 ✓" in out
    assert "assuming lenet5-conv" in err
    flags = ["--weights", "bare.pth", "--arch", "lenet5-conv"]
    assert "1984 ✓" in run(capsys, pictures / "number_1984.png", *flags)[1]
    status, _, err = run(capsys, pictures, "--weights", "bare.pth", "--arch", "lenet5-tanh")
    assert status == 2
    assert_one_error_line(err, "bare.pth", "lenet5-tanh")


def test_a_figure_is_drawn(pictures, capsys):
    status, _, err = run(capsys, pictures / "page.png", "--plot", "numbers.png")
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
        (["--digit-weights", number_reader.WEIGHTS[0]], ["does not read the ten digits"]),
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


def unsure(window: int):
    """Answers of a network that says 8 in one window, 3 with e^-4 of that, "between" elsewhere."""

    def row_of_answers(net, inputs):
        answers = torch.full((len(inputs), (inputs.shape[3] - 32) // STRIDE + 1, 11), -20.0)
        answers[:, :, 10] = 20.0
        answers[:, window, [8, 3, 10]] = torch.tensor([4.0, 0.0, -20.0])
        return answers

    return row_of_answers


@pytest.mark.parametrize(("sure", "answer"), [(20.0, "3"), (3.0, "8")])
def test_where_the_readers_differ_the_best_product_wins(mnist, monkeypatch, sure, answer):
    image = mnist.train_images[mnist.train_labels == 3][:1]
    style = PLAIN._replace(noise=0.0)
    made = make_strings(image, torch.tensor([3]), 1, 0, lengths=(1, 1), style=style)
    x, _, width, _ = made.boxes[0, 0].tolist()

    def logits(pictures):
        """Of the network of single digits: 3 is e^sure times as likely as 8."""
        found = torch.zeros(len(pictures), 10)
        found[:, 3] = sure
        return found

    monkeypatch.setattr(strip_reader, "row_of_answers", unsure(round((x + width / 2) / STRIDE)))
    reader = StripReader([(None, 0.0, 1.0)], logits, choices=2)
    (reading,) = reader.read(made.strips())
    assert reading.text == answer  # e^4 to 1 for 8, e^sure to 1 for 3
    assert reading.confidence < 0.3
    assert reading.boxes == [tuple(made.boxes[0, 0].tolist())]
    (alone,) = StripReader([(None, 0.0, 1.0)], logits).read(made.strips())
    assert (alone.text, alone.choices) == (answer, ())  # in doubt, but nobody asked for more
    (first, share), (second, rest) = reading.choices
    assert {first, second} == {"3", "8"}
    assert first == answer
    # e^4 for 8, e^sure for 3, which is not counted beyond FLOOR.
    odds = strip_reader.WEIGHT * min(sure, -strip_reader.FLOOR) - 4.0
    assert share / rest == pytest.approx(np.exp(abs(odds)), rel=0.1)
    assert share + rest == pytest.approx(1.0, abs=0.01)
