"""A few damaged files of every kind, of which `benchmarks/fuzz.py` reads more than 20,000."""

import io
import sys
import warnings

import pytest

from lenet5.runtime.errors import UserError
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import fuzz

EACH = 10  # files of each of the 36 kinds


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched in /proc")
def test_damaged_files_are_read_or_refused_in_words():
    watched = fuzz.Watched(seed=1)  # files that the benchmark's record does not have
    found = {(kind, number): watched.read(kind, number) for kind in fuzz.KINDS for number in range(EACH)}
    watched.stop()
    assert {case: why for case, (how, why, *_) in found.items() if how == "failed"} == {}
    assert {how for how, *_ in found.values()} == {"read", "refused"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow's, about options that a format does not have
def test_whole_files_are_read_except_for_eps(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(fuzz, "CLASSIFIER", fuzz.ImageClassifier(fuzz.PRETRAINED, device="cpu"), False)
    for kind in fuzz.KINDS:
        found = {fuzz.read_one(kind, data, io.StringIO())[0] for data in fuzz.whole_files(kind)}
        assert found == {"refused" if kind == "eps" else "read"}, kind


def test_a_case_is_the_same_whenever_it_is_made():
    first = fuzz.case(3, "png", 5)
    assert fuzz.case(3, "png", 6) != first
    fuzz.whole_files.cache_clear()
    assert fuzz.case(3, "png", 5) == first


def refuse(path):
    raise UserError("no")


@pytest.mark.parametrize(
    ("reader", "how"),
    [
        (lambda path: path.read_bytes(), "read"),
        (refuse, "refused"),
        (lambda path: {}["x"], "failed"),
        (lambda path: warnings.warn("odd", stacklevel=1), "failed"),
    ],
)
def test_what_counts_as_a_failure(monkeypatch, reader, how):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(fuzz.KINDS, "png", fuzz.Kind(1, None, reader))
    assert fuzz.read_one("png", b"data", io.StringIO())[0] == how
