"""Files of results: what is in them, and how a second call continues one."""

import json

import pytest

import inference
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.output_file import read_done
from lenet5.reading.results import Result
from lenet5.whole_numbers.number_reader import NumberResult
from tests.conftest import DIGITS, assert_one_error_line


def test_floats_are_written_with_six_significant_digits():
    sure = 0.123456789
    result = Result(path="1.png", prediction=1, confidence=sure, top=[(1, sure), (7, 1.23456789e-9)])
    written = result.as_object()
    assert (written["path"], written["confidence"]) == ("1.png", 0.123457)
    assert written["top"] == [[1, 0.123457], [7, 1.23457e-9]]
    assert result.confidence == sure
    box = [3, 4, 1234567, 8]
    number = {"text": "1", "confidence": sure, "box": box, "digits": [{"digit": 1, "confidence": sure}]}
    (written,) = NumberResult(numbers=[number]).as_object()["numbers"]
    assert (written["box"], written["digits"]) == (box, [{"digit": 1, "confidence": 0.123457}])


@pytest.mark.parametrize("format", ["json", "csv"])
@pytest.mark.parametrize("cut", [0, 1, 40])
def test_an_output_file_is_continued(workdir, capsys, monkeypatch, format, cut):
    """What was scored is not scored again, and a last line that was cut off is."""
    paths = [str(DIGITS / f"digit_{i}.png") for i in range(4)]
    flags = ["--format", format, "--output"]
    assert inference.main([*paths, *flags, "whole"]) == 0
    assert capsys.readouterr().out == ""
    assert inference.main([*paths[:2], "missing.png", *flags, "out"]) == 1
    data = (workdir / "out").read_bytes()
    (workdir / "out").write_bytes(data[: len(data) - cut])
    scored, predict = [], ImageClassifier.predict_batch
    monkeypatch.setattr(
        ImageClassifier, "predict_batch", lambda s, p, *made: scored.extend(p) or predict(s, p)
    )
    # The missing picture counts again: the status is that of all results in the file.
    assert inference.main([*paths[:2], "missing.png", *paths[2:], *flags, "out"]) == 1
    assert scored == (paths[2:] if cut == 0 else ["missing.png", *paths[2:]])
    read = [row for row, _ in read_done("out", format) if row["path"] != "missing.png"]
    whole = [row for row, _ in read_done("whole", format)]
    for name in ("path", "prediction", "label", "correct"):
        assert [row[name] for row in read] == [row[name] for row in whole]
    assert (workdir / "out").read_text().count("path") == (1 if format == "csv" else 5)
    assert "4 of 4 right" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["json", "csv"])
def test_an_output_file_is_whole_up_to_some_line_wherever_it_was_cut(workdir, format):
    """Also within a name that has line breaks and quotation marks in it, and one that is not UTF-8."""
    names = ["a.png", 'b"\nc.png', "d\n\n.png", "\udcff.png"]  # of no pictures: each gets its error
    assert inference.main([*names, "--format", format, "--output", "out"]) == 1
    data = (workdir / "out").read_bytes()
    for cut in range(len(data) + 1):
        (workdir / "cut").write_bytes(data[:cut])
        found = list(read_done("cut", format))
        assert [row["path"] for row, _ in found] == names[: len(found)]
        assert all(length <= cut for _, length in found)
    assert (len(found), found[-1][1]) == (4, len(data))


WRITTEN = {"path": "a.png", "prediction": 3, "confidence": 1.0, "top": [[3, 1.0]]}
WRITTEN |= {"label": 3, "correct": True, "error": None}
ODD = [{"path": [1]}, {"path": None}, {"label": {}}, {"correct": "yes"}, {"correct": []}]


@pytest.mark.parametrize("format", ["json", "csv"])
@pytest.mark.parametrize(
    "content",
    [
        "Dear Ann",  # no line is whole, but that is no beginning of a result
        "Dear Ann,\n",
        '"Dear Ann\n',  # in CSV, a quotation that does not end
        "path,prediction\na.png,1\n",
        *(json.dumps(WRITTEN | odd) + "\n" for odd in ODD),
        '{"path": "a.png"}\n',
        "[" * 100_000 + "\n",
        "\n",
    ],
)
def test_a_file_that_holds_something_else_is_left_alone(workdir, capsys, format, content):
    (workdir / "out").write_text(content)
    assert inference.main(["a.png", "--device", "cpu", "--format", format, "--output", "out"]) == 2
    assert_one_error_line(capsys.readouterr().err, "give another --output")
    assert (workdir / "out").read_text() == content
