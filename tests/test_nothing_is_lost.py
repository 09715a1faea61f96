"""What a person has is not overwritten, and results are not taken for others."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import generate_test_digits
import inference
import read_number
import train
from lenet5.data.datasets import load_dataset, split_of
from lenet5.data.picture_files import find_pictures
from lenet5.runtime.errors import UserError
from lenet5.runtime.outputs import check_outputs, format_of, is_figure
from tests.conftest import DIGITS, PRETRAINED, ROOT, assert_one_error_line, objects

FOUR, SEVEN = (str(DIGITS / f"digit_{digit}.png") for digit in (4, 7))
OTHER = str(ROOT / "pretrained" / "lenet5-plain.pth")
SHIPPED = ["--weights", str(PRETRAINED)]


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (inference.main, ["--plot", "mine.png"]),  # meant as a switch
        (inference.main, ["mine.png", "--plot", "./mine.png"]),
        (inference.main, ["--explain", "mine.png", "--plot", "mine.png"]),
        (inference.main, ["--maps", FOUR, "--plot", "mine.png"]),
        (inference.main, [FOUR, "--output", "mine.png"]),
        (inference.main, ["--evaluate", str(DIGITS), "--output", "mine.png"]),
        (inference.main, ["--evaluate", str(DIGITS), "--output", "notes.txt"]),
        (inference.main, [FOUR, "--plot", "link.png"]),
        (read_number.main, ["mine.png", "--plot", "mine.png"]),
        (read_number.main, ["--output", "mine.png"]),
        (inference.main, ["--plot", "notes.txt"]),
        (inference.main, ["--evaluate", "set.npz", "--plot", "set.npz"]),
        (train.main, ["--dataset", "set.npz", "--plot", "set.npz"]),
        (train.main, ["--dataset", "set.npz", "--output", "set.npz"]),
        (train.main, ["--init-from", "w.pth", "--plot", "w.pth"]),
        (train.main, ["--dry-run", "--plot", "mine.png"]),
        (train.main, ["--max-steps", "1", "--output", "mine.png"]),
        (train.main, ["--compare", "--plot", "mine.png"]),
        (generate_test_digits.main, ["--sheet", "mine.png"]),
    ],
)
def test_no_picture_of_a_person_is_overwritten(workdir, capsys, main, flags):
    shutil.copy(FOUR, "mine.png")
    os.symlink("mine.png", "link.png")
    Path("notes.txt").write_text("mine")
    Path("set.npz").write_bytes(b"mine")
    shutil.copy(PRETRAINED, "w.pth")
    os.symlink(DIGITS, "test_digits")
    before = Path("mine.png").read_bytes()
    assert main(flags + (SHIPPED if main is inference.main else [])) == 2
    name = next(flag for flag in flags[::-1] if "." in flag)
    assert_one_error_line(capsys.readouterr().err, name.removeprefix("./"))
    assert Path("mine.png").read_bytes() == before
    assert Path("w.pth").read_bytes() == PRETRAINED.read_bytes()
    assert Path("set.npz").read_bytes() == b"mine"
    assert Path("notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (inference.main, [FOUR, "--output", "r", "--plot", "r", *SHIPPED]),
        (inference.main, [FOUR, "--output", "r", "--plot", "link", *SHIPPED]),
        (read_number.main, [FOUR, "--output", "r", "--plot", "./r"]),
        (train.main, ["--max-steps", "1", "--output", "r", "--plot", "r"]),
    ],
)
def test_two_outputs_are_two_files(workdir, capsys, main, flags):
    os.symlink("r", "link")
    assert main(flags) == 2
    assert_one_error_line(capsys.readouterr().err, "the same file")
    assert not Path("r").exists()


def test_a_device_may_be_named_twice_and_a_figure_drawn_again(workdir):
    check_outputs({"--plot": os.devnull}, {"--output": os.devnull}, [os.devnull])
    for _ in range(2):
        assert inference.main([FOUR, "--plot", "drawn.png", *SHIPPED]) == 0
    shutil.copy(FOUR, "training_results.png")  # as older versions wrote it
    check_outputs({"--plot": "training_results.png"}, {})


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.png", b"\x89PNG"),
        ("x.jpg", b"\xff\xd8"),
        ("x.svg", b"<?xml"),
        ("x.pdf", b"%PDF"),
        ("x", b"\x89PNG"),
    ],
)
def test_a_figure_is_what_its_name_says_and_carries_a_mark(workdir, name, start):
    for _ in range(2):  # it may be drawn again
        assert inference.main([FOUR, "--plot", name, *SHIPPED]) == 0
        assert Path(name).read_bytes().startswith(start)
        assert is_figure(name)
    same = Path(name).read_bytes()
    assert inference.main([FOUR, "--plot", name, *SHIPPED]) == 0
    assert Path(name).read_bytes() == same


def test_the_default_weights_are_not_overwritten(workdir, capsys):
    shutil.copy(PRETRAINED, "lenet5_model.pth")
    assert inference.main([FOUR, "--plot", "lenet5_model.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "lenet5_model.pth", "would be overwritten")
    assert Path("lenet5_model.pth").read_bytes() == PRETRAINED.read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_with_a_name_is_not_waited_for(workdir, capsys):
    Path("d").mkdir()
    os.mkfifo("d/x.png")
    shutil.copy(FOUR, "d/digit_4.png")
    assert inference.main(["d", "--format", "json", *SHIPPED]) == 1
    assert "not a regular file" in capsys.readouterr().out
    assert is_figure("d/x.png") is False


@pytest.mark.parametrize("name", ["x.tiff", "x.GIF", "x.webp", "x.bmp", "x.eps", "x.ppm", "x.ico"])
def test_a_format_that_no_figure_has_is_refused(name):
    with pytest.raises(UserError, match="PNG, JPEG, SVG or PDF"):
        format_of(name)


def test_figures_in_a_folder_are_not_read(workdir, capsys):
    """inference.py . --plot v.png, twice: the second time its own figure lies there."""
    shutil.copy(FOUR, "digit_4.png")
    for name in ("v.png", "v.jpg", "v.png"):
        assert inference.main([".", "--plot", name, "--format", "json", *SHIPPED]) == 0
        out, err = capsys.readouterr()
        assert [row["path"] for row in objects(out)] == ["./digit_4.png"]
    assert "left out: 2 figures" in err
    assert inference.main(["v.png", "--format", "json", *SHIPPED]) == 0  # by its name it is


def test_sheets_carry_the_mark_too(workdir):
    for name in ("sheet.png", "sheet.jpg"):
        assert generate_test_digits.main(["--output", "digits", "--sheet", name]) == 0
        assert is_figure(name)
    assert not is_figure("digits/digit_0.png")


# ---------------------------------------------------------------- results of other weights


@pytest.mark.parametrize("format", ["json", "csv"])
@pytest.mark.parametrize(
    "others",
    [
        ["--weights", OTHER],
        [*SHIPPED, "--reject"],
        [*SHIPPED, "--invert", "no"],
        [*SHIPPED, "--top-k", "5"],
    ],
)
def test_results_of_other_weights_or_flags_are_not_gone_on_with(workdir, capsys, format, others):
    flags = [FOUR, "--output", "r", "--format", format]
    assert inference.main([*flags, *SHIPPED]) == 0
    before = Path("r").read_bytes()
    capsys.readouterr()
    assert inference.main([*flags, *others]) == 2
    err = capsys.readouterr().err
    assert_one_error_line(err, "r holds results with other", "another --output")
    assert len(err) < 160  # only what differs
    assert Path("r").read_bytes() == before


@pytest.mark.parametrize("format", ["json", "csv"])
@pytest.mark.parametrize("script", [inference, read_number])
def test_a_changed_picture_is_read_again_and_counts_once(workdir, capsys, format, script):
    shutil.copy(FOUR, "digit_7.png")  # what it is called, it is not
    shutil.copy(FOUR, "digit_4.png")
    flags = ["digit_7.png", "digit_4.png", "missing.png", "--output", "r", "--format", format]
    flags += SHIPPED if script is inference else []
    assert script.main(flags) == 1
    assert "1 of 2 right" in capsys.readouterr().err
    lines = Path("r").read_bytes().splitlines()
    shutil.copy(SEVEN, "digit_7.png")
    shutil.copy(SEVEN, "missing.png")
    assert script.main(flags) == 0
    err = capsys.readouterr().err
    assert "3 read, 2 of 2 right (100.00 %)" in err
    assert "read as" not in err
    after = Path("r").read_bytes().splitlines()
    assert after[: len(lines)] == lines
    assert len(after) == len(lines) + 2
    assert script.main(flags) == 0  # nothing is to be read
    assert "2 of 2 right" in capsys.readouterr().err
    assert len(Path("r").read_bytes().splitlines()) == len(after)


def test_a_picture_that_is_named_twice_counts_twice_until_it_changes(workdir, capsys):
    shutil.copy(FOUR, "digit_7.png")
    flags = ["digit_7.png", "digit_7.png", "--output", "r", *SHIPPED]
    for _ in range(2):
        assert inference.main(flags) == 0
        assert "2 read, 0 of 2 right" in capsys.readouterr().out
    shutil.copy(SEVEN, "digit_7.png")
    for _ in range(2):
        assert inference.main(flags) == 0
        assert "2 read, 2 of 2 right" in capsys.readouterr().out


def test_a_picture_from_the_far_future_and_one_that_comes_later(workdir, capsys):
    shutil.copy(FOUR, "digit_4.png")
    os.utime("digit_4.png", (1e11, 1e11))
    assert inference.main(["digit_4.png", "later.png", "--output", "r", *SHIPPED]) == 1
    shutil.copy(SEVEN, "later.png")
    assert inference.main(["digit_4.png", "later.png", "--output", "r", *SHIPPED]) == 0
    assert "2 read, 1 of 1 right" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_file_of_an_older_version_is_gone_on_with(workdir, capsys, format):
    flags = ["--output", "r", "--format", format, *SHIPPED]
    assert inference.main([FOUR, *flags]) == 0
    if format == "json":
        row = json.loads(Path("r").read_text())
        old = {
            name: value
            for name, value in row.items()
            if name not in ("weights", "flags", "size", "time")
        }
        Path("r").write_text(json.dumps(old) + "\n")
    else:
        lines = Path("r").read_text().splitlines()
        Path("r").write_text("".join(",".join(line.split(",")[:-4]) + "\n" for line in lines))
    before = Path("r").read_text()
    capsys.readouterr()
    for _ in range(2):
        assert inference.main([FOUR, SEVEN, *flags]) == 0
        err = capsys.readouterr().err
        assert "an older version began r" in err
        assert "2 of 2 right" in err
    assert Path("r").read_text().startswith(before)
    assert len(Path("r").read_text().splitlines()) == len(before.splitlines()) + 1


# ---------------------------------------------------------------- folders


def drawn(*names: str, picture: str = FOUR) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, name)


def test_hidden_and_system_files_are_left_out_and_counted(workdir, capsys):
    drawn("a/7.png", "a/._7.png", "a/.ipynb_checkpoints/7.png", "a/__MACOSX/a/._7.png", "a/b/c/8.png")
    for name in ("a/.DS_Store", "a/Thumbs.db", "a/labels.csv"):
        Path(name).touch()
    os.symlink("..", "a/b/loop")
    Path("elsewhere").mkdir()
    drawn("elsewhere/9.png")
    os.symlink("../elsewhere", "a/link")
    assert list(find_pictures(["a"])) == ["a/7.png", "a/b/c/8.png", "a/link/9.png"]
    err = capsys.readouterr().err
    parts = ["4 hidden", "1 .csv files", "1 .db files", "1 seen already, through a link"]
    assert sorted(err.removeprefix("left out: ").strip().split(", ", 3)) == sorted(parts)


def test_folders_that_link_to_each_other_end(workdir):
    for i in range(12):
        drawn(f"f/{i}/a.png")
    for i in range(12):
        for k in range(12):
            os.symlink(f"../{k}", f"f/{i}/to{k}")
    assert len(list(find_pictures(["f"]))) == 12


def test_a_class_is_as_deep_as_its_pictures_lie(workdir, capsys):
    drawn("set/4/writer1/a.png", "set/4/writer1/day2/b.png", "set/4/c.png", "set/4/._c.png")
    drawn("set/7/writer1/a.png", "set/7/b.png", picture=SEVEN)
    found = load_dataset("set")
    assert len(found.train_labels) + len(found.test_labels) == 5
    assert "left out: 1 hidden" in capsys.readouterr().err
    assert inference.main(["set", "--format", "json", *SHIPPED]) == 0
    assert [row["label"] for row in objects(capsys.readouterr().out)] == [4, 4, 4, 7, 7]
    drawn("3/course/lenet/a.png")
    assert inference.main([str(workdir / "3/course/lenet/a.png"), "--format", "json", *SHIPPED]) == 0
    assert objects(capsys.readouterr().out)[0]["label"] is None  # a folder that is not about digits


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "Valid", "Test"), ("train", "val")]
)
def test_a_set_s_own_validation_pictures_choose(workdir, names):
    for part, count in zip(names, (5, 2, 1), strict=False):
        drawn(*(f"set/{part}/4/{i}.png" for i in range(count)))
        drawn(*(f"set/{part}/7/{i}.png" for i in range(count)), picture=SEVEN)
    found = load_dataset("set")
    tested = 2  # their own, or every fifth
    assert len(found.test_labels) == tested
    learned, chosen = split_of(found, 5000, seed=0)
    assert found.train_labels[chosen].tolist() == [0, 0, 1, 1]
    assert len(learned) == (10 if len(names) == 3 else 10 - tested)


def test_other_folders_beside_the_parts_are_named_and_nothing_is_held_out_unasked(workdir, capsys):
    for part in ("train", "val", "test", "notes"):
        drawn(*(f"set/{part}/{name}/a.png" for name in "47"))
    found = load_dataset("set")
    assert "left out of set: notes" in capsys.readouterr().err
    learned, chosen = split_of(found, 0, seed=0)
    assert (len(learned), len(chosen)) == (2, 0)


def test_of_a_folder_and_a_link_to_it_the_folder_is_read(workdir):
    drawn("f/zeros/a.png")
    os.symlink("zeros", "f/a_link")
    assert list(find_pictures(["f"])) == ["f/zeros/a.png"]


def test_classes_may_be_called_as_the_parts_of_a_set(workdir):
    drawn(*(f"set/{name}/{i}.png" for name in ("train", "car") for i in range(2)))
    assert load_dataset("set").classes == ["car", "train"]


def test_a_run_keeps_the_weights_that_it_began_with(workdir, capsys):
    """Also where its own output takes their place."""
    drawn(*(f"set/4/{i}.png" for i in range(6)))
    drawn(*(f"set/7/{i}.png" for i in range(6)), picture=SEVEN)
    shutil.copy(PRETRAINED, "lenet5_model.pth")
    flags = ["--dataset", "set", "--init-from", "lenet5_model.pth", "--epochs", "2", "--device", "cpu"]
    assert train.main([*flags, "--max-steps", "120"]) == 0
    (run,) = Path("runs").iterdir()
    assert (run / "first_weights.pth").read_bytes() == PRETRAINED.read_bytes()
    assert Path("lenet5_model.pth").read_bytes() != PRETRAINED.read_bytes()
    Path("lenet5_model.pth").unlink()
    capsys.readouterr()
    assert train.main(["--resume", str(run), "--init-from", "lenet5_model.pth"]) == 0
    assert Path("lenet5_model.pth").exists()


def test_an_unknown_backend_of_matplotlib_is_named_at_once(workdir):
    from tests.conftest import run_script

    done = run_script("train.py", "--dry-run", cwd=workdir, env={**os.environ, "MPLBACKEND": "foo"})
    assert done.returncode == 2
    assert_one_error_line(done.stderr, "MPLBACKEND=foo")
    assert not Path("runs").exists()


def test_a_small_figure_is_a_picture_of_its_format(workdir):
    assert inference.main([FOUR, "--plot", "x.jpg", *SHIPPED]) == 0
    with Image.open("x.jpg") as image:
        assert image.format == "JPEG"
