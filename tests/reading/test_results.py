"""What an output file holds, read line by line, and which pictures are still to be done."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inference
from lenet5.reading.output_file import not_done, read_done
from lenet5.reading.results import WRITERS, Result
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.number_reader import NumberResult

PATHS = st.lists(st.sampled_from(["a.png", "b.png", "c.png", "5", "None", "\udcff.png", 'd"\n.png']))


@given(written=PATHS, asked=PATHS)
@settings(max_examples=100, deadline=None)
def test_what_is_left_is_what_was_not_written_as_often(written, asked):
    left = not_done(asked, Counter(written))
    assert Counter(left) == Counter(asked) - Counter(written)


def write(path, format: str, paths) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        WRITERS[format](file).write([Result(path=p, prediction=1, confidence=0.5) for p in paths])


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
@pytest.mark.parametrize(
    "content",
    [
        "Dear Ann",  # no line is whole, but that is no beginning of a result
        "Dear Ann,\n",
        '"Dear Ann\n',  # in CSV, a quotation that does not end
        '{"path": "a.png"}\n',
        "path,prediction\na.png,1\n",
        "path,prediction\n",
        "\n",
    ],
)
def test_a_file_that_holds_something_else_is_left_alone(workdir, capsys, format, content):
    (workdir / "out").write_text(content)
    with pytest.raises(UserError, match="give another --output"):
        list(read_done("out", format))
    assert inference.main(["a.png", "--device", "cpu", "--format", format, "--output", "out"]) == 2
    assert (workdir / "out").read_text() == content


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_file_without_a_whole_result_is_begun_again(workdir, format):
    write("out", format, ["a.png"])
    data = (workdir / "out").read_bytes()
    end = len(data.splitlines()[0]) + 1 if format == "csv" else len(data) - 1
    for cut in range(end + 1):
        (workdir / "out").write_bytes(data[:cut])
        assert list(read_done("out", format)) == []


def test_rows_are_what_was_written(workdir):
    paths = ["a.png", 'b"\nc,.png', "d\n\n.png", "\udcff.png"]
    for format in ("json", "csv"):
        write("out", format, paths)
        rows = [row for row, _ in read_done("out", format)]
        assert [row["path"] for row in rows] == paths
        assert [float(row["confidence"]) for row in rows] == [0.5] * 4
