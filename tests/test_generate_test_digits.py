import itertools
import os
from pathlib import Path

import matplotlib
import numpy as np
import PIL
import pytest
from PIL import Image

import generate_test_digits
from generate_test_digits import STYLES, default_face, draw_digit, main
from lenet5.data.drawing_styles import thinned
from lenet5.data.font_faces import by_name, installed_faces, load_face
from lenet5.runtime.errors import UserError
from tests.conftest import ROOT, assert_one_error_line, run_script
from tests.imaging.drawings import centred

TRACKED = ROOT / "test_digits"
TRACKED_WITH = "13.0.0"  # the Pillow whose PNG encoder wrote the tracked bytes
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def pixels(folder):
    return {path.name: np.asarray(Image.open(path)) for path in sorted(Path(folder).glob("*.png"))}


def test_the_tracked_ten_are_what_the_bare_command_draws(workdir, capsys):
    assert main([]) == 0
    assert "10 pictures in test_digits" in capsys.readouterr().out
    names = [f"digit_{n}.png" for n in range(10)]
    assert sorted(os.listdir("test_digits")) == sorted(os.listdir(TRACKED)) == names
    for name in names:
        drawn, tracked = workdir / "test_digits" / name, TRACKED / name
        assert np.array_equal(np.asarray(Image.open(drawn)), np.asarray(Image.open(tracked)))
        if PIL.__version__ == TRACKED_WITH:
            assert drawn.read_bytes() == tracked.read_bytes()


def test_the_same_command_draws_the_same_bytes_in_another_process(workdir):
    flags = ("--styles", "all", "--per-digit", 12, "--seed", 5, "--size", 40)
    for folder in ("a", "b"):
        done = run_script("generate_test_digits.py", *flags, "--output", folder, cwd=workdir)
        assert done.returncode == 0
    a, b = ({p.name: p.read_bytes() for p in (workdir / folder).iterdir()} for folder in ("a", "b"))
    assert a == b
    assert len(a) == 120


def test_a_picture_depends_on_its_name_and_the_seed_alone(workdir):
    assert main(["--styles", "noisy", "rotated", "--output", "two"]) == 0
    assert main(["--styles", "noisy", "--output", "one"]) == 0
    assert main(["--styles", "noisy", "--output", "other", "--seed", "1"]) == 0
    one, two, other = pixels("one"), pixels("two"), pixels("other")
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert other.keys() == one.keys()
    assert not any(np.array_equal(one[name], other[name]) for name in one)


def test_a_picture_that_it_did_not_draw_is_kept(workdir, capsys):
    assert main(["--output", "out"]) == 0
    assert main(["--output", "out"]) == 0  # its own are drawn anew
    own = workdir / "out" / "digit_3.png"
    Image.new("L", (28, 28)).save(own)
    before = own.read_bytes()
    first = workdir / "out" / "digit_0.png"
    first.unlink()
    assert main(["--output", "out"]) == 2
    assert_one_error_line(capsys.readouterr().err, "digit_3.png", "give another --output")
    assert own.read_bytes() == before
    assert not first.exists()  # it was refused before anything was drawn


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--per-digit", "1"], 10),
        (["--per-digit", "3"], 30),
        (["--styles", "plain", "bold"], 20),
        (["--styles", "plain", "bold", "--per-digit", "5"], 50),
        (["--styles", "all"], 100),
        (["--styles", "all", "--per-digit", "4"], 40),
        (["--fonts", str(FONTS / "DejaVuSerif.ttf"), str(FONTS / "cmr10.ttf")], 20),
    ],
)
def test_how_many_pictures_and_what_they_are_called(workdir, flags, count):
    assert main([*flags, "--output", "out", "--size", "32"]) == 0
    drawn = pixels("out")
    assert len(drawn) == count
    assert all(image.shape == (32, 32) and image.dtype == np.uint8 for image in drawn.values())
    for digit in range(10):
        assert sum(name.startswith(f"digit_{digit}_") for name in drawn) == count // 10
    # No two pictures of a digit are the same.
    for a, b in itertools.combinations(drawn.values(), 2):
        assert not np.array_equal(a, b)


@pytest.mark.parametrize("size", [8, 28, 300])
def test_size(size):
    picture = draw_digit(5, default_face(), size=size)
    assert picture.size == (size, size)
    dark = np.asarray(picture) < 128
    rows = np.flatnonzero(dark.any(1))
    assert rows[-1] - rows[0] + 1 == pytest.approx(generate_test_digits.DIGIT_HEIGHT * size, abs=2)


def ink(picture):
    return (255 - np.asarray(picture, dtype=float)).sum()


def test_styles_do_what_they_are_called():
    rng = np.random.default_rng
    face = default_face()
    draw = {style: draw_digit(8, face, style, 128, rng(1)) for style in STYLES}
    plain = np.asarray(draw["plain"], dtype=float)
    assert ink(draw["thin"]) < 0.7 * ink(draw["plain"])
    assert ink(draw["plain"]) * 1.1 < ink(draw["bold"]) < ink(draw["thick"]) * 0.9
    assert ink(draw["outline"]) < 0.6 * ink(draw["plain"])
    assert np.array_equal(np.asarray(draw["inverted"]), 255 - plain)
    assert np.asarray(draw["noisy"])[:10, :10].std() > 15  # 25 gray levels, some of it clipped
    assert plain[:10, :10].std() == 0
    # Blurring keeps the ink and flattens the steps; shifting keeps the shape and not the place.
    assert ink(draw["blurred"]) == pytest.approx(ink(draw["plain"]), rel=0.02)
    assert np.abs(np.diff(np.asarray(draw["blurred"], float))).max() < np.abs(np.diff(plain)).max() / 2
    difference = np.abs(centred(draw["shifted"]).astype(int) - centred(draw["plain"]))
    assert difference.mean() < 8
    assert ink(draw["rotated"]) == pytest.approx(ink(draw["plain"]), rel=0.02)
    assert not np.array_equal(np.asarray(draw["rotated"]), plain)


def test_thinning_keeps_hairlines():
    hairline = Image.fromarray(
        np.where(np.arange(40)[:, None] == 20, 0, 255).repeat(40, 1).astype(np.uint8)
    )
    assert np.array_equal(np.asarray(thinned(hairline)), np.asarray(hairline))


def test_fonts_by_name_and_all(workdir):
    faces = installed_faces()
    names = {(face.family, face.style) for face in faces}
    assert ("DejaVu Sans", "Book") in names
    assert len(names) == len(faces)
    assert by_name("dejavusans", faces)[0].style == "Book"
    assert by_name("DejaVu Sans Bold", faces)[0].style == "Bold"
    assert by_name("no such family", faces) == []
    # Fonts of mathematical signs have other things in the digits' places.
    assert not {"cmex10", "cmsy10", "STIXSizeOneSym"} & {face.family for face in faces}
    assert main(["--fonts", "DejaVu Serif", "--output", "out"]) == 0
    assert len(os.listdir("out")) == 10
    assert all("dejavu-serif" in name for name in os.listdir("out"))


def test_fonts_without_digits_are_refused():
    with pytest.raises(UserError, match="does not draw all ten digits"):
        load_face(FONTS / "STIXSizOneSymReg.ttf")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size", "0"], "--size"),
        (["--size", "large"], "not a whole number"),
        (["--per-digit", "0"], "--per-digit"),
        (["--seed", "-1"], "--seed"),
        (["--styles", "baroque"], "--styles"),
        (["--fonts", "No Such Family"], "no font here is called"),
        (["--fonts", "missing.ttf"], "cannot use the font missing.ttf"),
        (["--fonts", str(TRACKED / "digit_0.png")], "cannot use the font"),
        (["--sheet", "test_digits/sheet.png"], "outside the output folder"),
        (["--sheet", "missing/sheet.png"], "there is no folder"),
        (["--output", "/dev/null/x"], "cannot make the folder"),
        (["extra"], "unrecognized arguments: extra"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(workdir, capsys, flags, words):
    try:
        status = main(flags)
    except SystemExit as stopped:  # of argparse
        status = stopped.code
    assert status == 2
    err = capsys.readouterr().err
    assert_one_error_line(err, words)
    assert len(err.splitlines()) == 1 or "No Such" in flags[-1]


def test_contact_sheet(workdir, capsys):
    assert main(["--styles", "all", "--output", "out", "--sheet", "sheet.png"]) == 0
    sheet = Image.open("sheet.png")
    assert sheet.size[1] > 10 * 64  # a row for each of ten styles
    assert "contact sheet: sheet.png" in capsys.readouterr().out
