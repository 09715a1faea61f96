"""How benchmarks/real_numbers.py scores folders, and what written_numbers.py gives it."""

import sys

import pytest
from PIL import Image

from lenet5.whole_numbers.number_reader import NumberResult
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import real_numbers
import written_numbers


def read(text: str, confidence: float, answered: bool = True) -> NumberResult:
    """A result in which one number was read."""
    numbers = [{"text": text, "confidence": confidence}]
    return NumberResult(prediction=text if answered else None, confidence=confidence, numbers=numbers)


def folder_of(path, *names: str):
    for name in names:
        Image.new("L", (40, 20), 255).save(path / name)
    return path


def test_a_name_begins_with_its_number(tmp_path, capsys):
    folder = folder_of(tmp_path, "90210_1.png", "1,234.50_2.jpg", "name_3.png")
    numbers = real_numbers.labelled(folder)
    assert sorted(numbers.values()) == ["123450", "90210"]
    assert "left out 1 " in capsys.readouterr().err


def test_scores_by_hand():
    """What is refused may be right; nothing read is wrong and not sure."""
    results = [read("12", 0.9), read("34", 0.4, answered=False), read("56", 0.8), read("", 0.0, False)]
    row = real_numbers.scores(results, ["12", "34", "57", "8"])
    assert (row["right"], row["answered"], row["right_of_answered"]) == (0.5, 0.5, 0.5)
    assert row["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.8 + 0.0) / 4)


def test_numbers_of_several_lines_are_read_one_after_the_other():
    result = read("12", 0.9)
    result.numbers.append({"text": "34", "confidence": 0.9})
    assert real_numbers.scores([result], ["1234"])["right"] == 1


def test_other_readers_read_the_same_pictures(tmp_path, monkeypatch):
    """One that reads the names, with signs, and one that reads nothing."""
    other = tmp_path / "other.py"
    other.write_text(
        "import json, pathlib, sys\n"
        "paths = sys.stdin.read().splitlines()\n"
        "print('ready')\n"
        "names = ['$' + pathlib.Path(path).stem.split('_')[0] for path in paths]\n"
        "print(json.dumps({'Names': names, 'Nothing': [''] * len(paths)}))\n"
    )
    monkeypatch.setattr(real_numbers, "OTHERS", other)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    folder_of(pictures, "7_1.png", "12_2.png")

    class Blind:
        def predict_batch(self, paths):
            return [read("", 0.0, answered=False) for _ in paths]

    row = real_numbers.measure(pictures, Blind(), sys.executable)
    assert row["others"] == {"Names": 1.0, "Nothing": 0.0}
    assert (row["pictures"], row["right"], row["right_of_answered"]) == (2, 0.0, None)
    assert "| 100.0 % | 0.0 % |" in real_numbers.table_of([row])


def test_a_folder_without_numbers_has_no_row(tmp_path):
    assert real_numbers.measure(folder_of(tmp_path, "name_1.png"), None, None) is None


def test_numbers_are_written_on_every_background(mnist, monkeypatch):
    monkeypatch.setattr(written_numbers, "COUNT", 3)
    monkeypatch.setattr(written_numbers, "load_mnist", lambda _: mnist)
    made = written_numbers.pictures()
    assert set(made) == set(written_numbers.BACKGROUNDS)
    for pairs in made.values():
        for picture, digits in pairs:
            assert digits.isdigit()
            assert min(picture.size) > 20
            assert picture.convert("L").getextrema()[0] < 200  # there is ink
