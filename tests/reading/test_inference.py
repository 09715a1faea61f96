"""inference.py and ImageClassifier: reading, labels, rejection, sets, figures."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from inference import main
from lenet5.data import picture_files
from lenet5.data.picture_files import find_pictures
from lenet5.evaluation import figures, network_figures
from lenet5.imaging.opening import PictureError
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading import classifier as classifier_module
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.results import FIELDS
from lenet5.runtime.errors import UserError
from model import LeNet5
from tests.conftest import (
    DIGITS,
    PRETRAINED,
    ROOT,
    SHIPPED,
    assert_one_error_line,
    assert_same_readings,
    objects,
    run_script,
)

FOUR = str(DIGITS / "digit_4.png")


@pytest.fixture(scope="module")
def classifier():
    return ImageClassifier(PRETRAINED, device="cpu")


@pytest.fixture
def folder(workdir):
    """Two digits, one of them in a folder named by its class, and a text file called .png."""
    (workdir / "in" / "7").mkdir(parents=True)
    Image.open(DIGITS / "digit_3.png").save(workdir / "in" / "digit_3.png")
    Image.open(DIGITS / "digit_7.png").save(workdir / "in" / "7" / "mine.jpg")
    (workdir / "in" / "notes.txt").write_text("not looked at")
    (workdir / "in" / "text.png").write_text("this is no picture")
    return workdir / "in"


@pytest.fixture
def figure(monkeypatch):
    """The last figure that would be saved, without the time that it takes."""
    saved = {}
    for module in (figures, network_figures):
        monkeypatch.setattr(
            module, "save", lambda figure, path: saved.update(axes=figure.axes, path=path)
        )
    return saved


def status_of(flags) -> int:
    """The exit status of inference.py; argparse ends with an exception."""
    try:
        return main(flags)
    except SystemExit as end:
        return end.code


# ---------------------------------------------------------------- reading


def test_a_fresh_clone_reads_the_ten_digits(workdir):
    """Without weights of one's own: those in pretrained/, and a line says so."""
    done = run_script("inference.py", DIGITS, cwd=workdir)
    assert done.returncode == 0
    assert done.stdout.count("✓") == 10
    assert "10 of 10 right" in done.stdout
    assert "pretrained/lenet5.pth" in done.stderr


def test_without_a_path_it_reads_test_digits(workdir, capsys):
    assert main([]) == 2
    assert "python generate_test_digits.py" in capsys.readouterr().err
    os.symlink(DIGITS, "test_digits")
    assert main([]) == 0
    assert "10 read" in capsys.readouterr().out


def test_formats_have_the_same_fields(folder, capsys):
    assert main(["in", "--format", "json", "--top-k", "2"]) == 1
    captured = capsys.readouterr()
    seven, three, text = values = objects(captured.out)
    assert all(tuple(value) == FIELDS for value in values)
    assert [value["path"] for value in values] == ["in/7/mine.jpg", "in/digit_3.png", "in/text.png"]
    for value, digit in ((seven, 7), (three, 3)):
        assert (value["prediction"], value["label"], value["correct"]) == (digit, digit, True)
        assert value["top"][0] == [digit, value["confidence"]]
        assert len(value["top"]) == 2
    assert "not a picture" in text["error"]
    assert all(text[name] is None for name in FIELDS if name not in ("path", "error"))
    assert "in/text.png" in captured.err
    assert main(["in", "--format", "csv", "--top-k", "2"]) == 1
    for row, value in zip(csv.DictReader(io.StringIO(capsys.readouterr().out)), values, strict=True):
        top = None if row["top"] == "" else json.loads(row["top"])
        assert top == value["top"]
        for name in FIELDS:
            assert name == "top" or row[name] == ("" if value[name] is None else str(value[name]))


def test_table_names_what_could_not_be_read_and_the_misses(folder, capsys):
    Image.open(DIGITS / "digit_3.png").save(folder / "digit_4.png")
    assert main(["in"]) == 1
    out = capsys.readouterr().out
    for words in ("in/text.png", "not a picture", "✗ is 4", "2 of 3 right (66.67 %)", "4 read as 3: 1"):
        assert words in out
    assert main(["in/digit_4.png"]) == 0  # a wrong answer is an answer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "No such file"),
        (lambda p: p.mkdir(), "no picture"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.symlink_to(p), "symbolic links"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_read(workdir, capsys, make, words):
    make(workdir / "x.png")
    assert main(["x.png", str(DIGITS / "digit_0.png"), "--format", "json"]) == 1
    bad, good = objects(capsys.readouterr().out)
    assert words in bad["error"]
    assert good["prediction"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["with space.png", "new\nline.png", "emoji 😀.png", b"not utf-8 \xff.png"]
)
def test_names_of_any_kind(workdir, name):
    path = os.fsdecode(name)
    Image.open(DIGITS / "digit_5.png").save("a.png")
    os.rename("a.png", path)
    # In a process of its own, since what matters is what reaches a pipe.
    done = run_script("inference.py", ".", cwd=workdir)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3  # no name breaks its line
    done = run_script("inference.py", path, "--format", "json", cwd=workdir)
    assert objects(done.stdout)[0]["path"] == path


@pytest.mark.parametrize("source", ["-", "list"])
def test_files_from(workdir, source):
    lines = f"{DIGITS}/digit_1.png\n\n{DIGITS}/digit_2.png\r\nmissing.png\n"
    (workdir / "list").write_text(lines)
    done = run_script(
        "inference.py", "--files-from", source, "--format", "json", cwd=workdir, stdin=lines
    )
    assert done.returncode == 1
    assert [value["prediction"] for value in objects(done.stdout)] == [1, 2, None]


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_batches_and_single_pictures_agree(workdir, capsys, classifier, batch_size):
    assert main([str(DIGITS), *SHIPPED, "--format", "json", "--batch-size", str(batch_size)]) == 0
    for value in objects(capsys.readouterr().out):
        alone = classifier.predict_batch([value["path"]])[0]
        assert alone.prediction == value["prediction"]
        assert alone.confidence == pytest.approx(value["confidence"], abs=1e-5)


def test_from_python(classifier, workdir):
    path = DIGITS / "digit_4.png"
    image = Image.open(path)
    for picture in (path, str(path), image, np.asarray(image)):
        assert classifier.predict(picture) == 4
    (workdir / "bad.png").write_bytes(b"x")
    good, bad, array = classifier.predict_batch([path, "bad.png", np.asarray(image)])
    assert good.probabilities.shape == (10,)
    assert good.probabilities.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(
        classifier.probabilities(good.image[None])[0], good.probabilities, atol=1e-5
    )
    assert good.top[0] == (4, good.confidence)
    assert (bad.prediction, bad.probabilities) == (None, None)
    assert bad.error
    assert (array.path, array.label, array.prediction) == (None, None, 4)
    assert classifier.predict_batch([]) == []
    with pytest.raises(PictureError, match=r"bad\.png"):
        classifier.predict("bad.png")


def test_a_temperature_in_the_weights_makes_confidences_smaller(workdir):
    net, metadata = load_weights(PRETRAINED)
    save_weights("warm.pth", net, **(metadata | {"temperature": 3.0}))
    save_weights("plain.pth", net, **{k: v for k, v in metadata.items() if k != "temperature"})
    warm, plain = (ImageClassifier(f).predict_batch([FOUR])[0] for f in ("warm.pth", "plain.pth"))
    assert warm.prediction == plain.prediction
    expected = torch.tensor(plain.probabilities).log().div(3).softmax(dim=0).numpy()
    np.testing.assert_allclose(warm.probabilities, expected, atol=1e-5)


# ---------------------------------------------------------------- folders and labels


def test_a_folder_is_searched_in_sorted_order(workdir):
    for name in ("b/2.png", "b/10.PNG", "a.jpeg", "b.png", "c/x.txt", "c/d/z.webp"):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        open(name, "w").close()
    os.symlink("..", "b/up")  # a loop is not followed
    found = ["./a.jpeg", "./b/10.PNG", "./b/2.png", "./b.png", "./c/d/z.webp"]
    assert list(find_pictures(["."])) == found


def test_pictures_are_what_pillow_registers():
    assert all(map(picture_files.is_registered, Image.registered_extensions()))
    assert not any(map(picture_files.is_registered, ("", ".", ".txt", "png")))


def test_the_first_pictures_are_found_before_the_whole_tree_is_walked(workdir, monkeypatch):
    for i in range(20):
        (workdir / f"{i:02}" / "below").mkdir(parents=True)
        (workdir / f"{i:02}" / "below" / "a.png").touch()
    scanned, scandir = [], os.scandir
    monkeypatch.setattr(picture_files.os, "scandir", lambda path: scanned.append(path) or scandir(path))
    pictures = find_pictures(["."])
    assert [next(pictures), next(pictures)] == ["./00/below/a.png", "./01/below/a.png"]
    assert scanned == [".", "./00", "./00/below", "./01", "./01/below"]
    assert len(list(pictures)) == 18


def test_the_label_is_where_a_name_tells_it(classifier):
    labels = {
        "digit_3.png": 3,
        "digit_3_font_bold_1.jpg": 3,
        "digit_33.png": None,
        "my_digit_3.png": None,
        "5/any.png": 5,
        "5/digit_3.png": 3,
        "55/any.png": None,
        "any.png": None,
    }
    assert {path: classifier.label_of(path) for path in labels} == labels


# ---------------------------------------------------------------- rejection and ink


def test_reject(workdir, capsys):
    Image.new("L", (50, 50), 200).save("blank.png")
    pictures = ["blank.png", str(DIGITS / "digit_7.png")]
    for flags, reasons in (([], [None, None]), (["--reject"], ["blank", None])):
        assert main([*pictures, *flags, "--format", "json"]) == 0
        values = objects(capsys.readouterr().out)
        assert [v["reason"].split(":")[0] if "reason" in v else None for v in values] == reasons
        assert [v["prediction"] is None for v in values] == [r is not None for r in reasons]
    assert main([*pictures, "--reject"]) == 0
    assert "2 read, 1 of 1 right (100.00 %), 1 refused" in capsys.readouterr().out


def test_reject_keeps_99_percent_of_the_validation_images(mnist, pretrained):
    """On other held-out images, the test set, the share is about the same."""
    classifier = ImageClassifier(PRETRAINED, device="cpu", reject=True)
    answers = [answer.prediction for answer in classifier.predict_batch(mnist.test_images.numpy())]
    assert 0.005 < np.mean([answer is None for answer in answers]) < 0.015
    pairs = zip(answers, mnist.test_labels.tolist(), strict=True)
    wrong = [answer != label for answer, label in pairs if answer is not None]
    assert np.mean(wrong) < (1 - pretrained[1]["test_accuracy"]) * 0.7  # refusing removes errors


@pytest.mark.parametrize(("invert", "prediction"), [("auto", 4), ("yes", 4), ("no", None)])
def test_invert(workdir, capsys, invert, prediction):
    assert main([FOUR, "--invert", invert, "--reject", "--format", "json"]) == 0
    assert objects(capsys.readouterr().out)[0]["prediction"] == prediction


# ---------------------------------------------------------------- weights and imports


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weights", "missing.pth"], "missing.pth"),
        (["--weights", FOUR], "not a weights file"),
        (["--top-k", "0"], "--top-k"),
        (["--batch-size", "-1"], "--batch-size"),
        (["--format", "xml"], "--format"),
        (["--plot", "missing/p.png"], "no folder"),
        (["--output", "missing/o.json"], "no folder"),
        (["--files-from", "missing"], "missing"),
        (["--device", "mps" if torch.cuda.is_available() else "cuda"], "device"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(workdir, capsys, flags, words):
    assert status_of([FOUR, *flags]) == 2
    assert_one_error_line(capsys.readouterr().err, words)


def test_ones_own_weights_come_first_and_are_not_replaced_silently(workdir, capsys):
    save_weights("lenet5_model.pth", LeNet5())
    assert classifier_module.default_weights() == "lenet5_model.pth"
    assert capsys.readouterr().err == ""
    (workdir / "lenet5_model.pth").write_bytes(b"damaged")
    assert main([str(DIGITS)]) == 2
    assert_one_error_line(capsys.readouterr().err, "lenet5_model.pth")
    with pytest.raises(UserError):
        ImageClassifier()


def test_a_reader_that_goes_away_is_no_traceback(workdir):
    command = f"{sys.executable} {ROOT}/inference.py {DIGITS} --format json --batch-size 1 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert len(objects(done.stdout)) == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_scripts_do_nothing_at_import_and_import_no_more_than_they_need(workdir):
    program = (
        "import sys, inference\n"
        f"assert inference.main([{str(DIGITS)!r}, '--output', '/dev/null']) == 0\n"
        "assert not {'matplotlib', 'torchvision', 'lenet5.data.datasets'} & set(sys.modules)\n"
        "import train, generate_test_digits, lenet5.evaluation.figures"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert os.listdir() == []


# ---------------------------------------------------------------- a whole set


def test_evaluation_of_mnist_is_that_of_the_metadata(workdir, capsys, pretrained):
    os.symlink(ROOT / "data", "data")
    assert main(["--evaluate", "mnist", *SHIPPED, "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["images"] == 10_000 == sum(map(sum, values["confusion"]))
    assert values["top_1"] == pretrained[1]["test_accuracy"] < values["top_3"] <= 1
    assert 0 < values["calibration_error"] < 0.02


@pytest.mark.slow
def test_evaluation_of_unseen_fonts(workdir, capsys):
    assert main(["--evaluate", "fonts", *SHIPPED, "--reject"]) == 0
    captured = capsys.readouterr()
    assert "2,070" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80
    assert "answered with --reject" in captured.err


def test_evaluation_of_a_folder(folder, capsys):
    Image.open(DIGITS / "digit_3.png").save(folder / "unnamed.png")
    assert main(["--evaluate", "in", *SHIPPED, "--plot", "set.png"]) == 1
    captured = capsys.readouterr()
    assert captured.out.split()[:5] == ["images", "2", "top-1", "100.00", "%"]
    assert "in/text.png: it is not a picture" in captured.err
    assert "in/unnamed.png" in captured.err
    assert os.path.exists("set.png")


def test_the_mistakes_of_a_folder_are_listed_and_drawn(folder, capsys, figure):
    Image.open(DIGITS / "digit_3.png").save(folder / "digit_9.png")
    flags = ["--evaluate", "in", *SHIPPED, "--output", "m.json"]
    assert main([*flags, "--plot", "p.png"]) == 1
    assert main(["in/digit_9.png", *SHIPPED, "--format", "json"]) == 0
    (mistake,) = json.loads((folder.parent / "m.json").read_text())
    assert_same_readings(mistake, objects(capsys.readouterr().out.splitlines()[-1])[0])
    assert (mistake["path"], mistake["prediction"], mistake["label"]) == ("in/digit_9.png", 3, 9)
    shown = {axes.get_title().split("\n")[0]: axes for axes in figure["axes"]}
    picture, digit = (shown[title].get_images()[0].get_array() for title in ("digit_9.png", "3, is 9"))
    assert np.array_equal(picture[..., 0], np.asarray(Image.open(DIGITS / "digit_3.png")))
    assert np.array_equal(
        digit, ImageClassifier(PRETRAINED).predict_batch([folder / "digit_9.png"])[0].image
    )
    (folder / "digit_9.png").unlink()
    assert main(flags) == 1
    assert json.loads((folder.parent / "m.json").read_text()) == []
    assert main(["--evaluate", "in", *SHIPPED, "--output", "none/m.json"]) == 2


@pytest.mark.parametrize(
    ("flags", "words", "status"),
    [
        (["--evaluate", "mnist", "--format", "csv"], "--format json", 2),
        (["--evaluate", "nowhere"], "nothing in nowhere", 1),
        (["--explain", "a.png", "b.png"], "--explain is for one picture", 2),
        (["--explain", "a.png", "--evaluate", "mnist"], "leave one out", 2),
        (["--filters", "a.png"], "--filters is for the network alone", 2),
        (["--filters", "--format", "json"], "leave --format out", 2),
        (["--embedding", "mnist", "--output", "o"], "--embedding is for one set", 2),
        (["--embedding", "7"], "7 has pictures of one class", 1),
        (["--robustness", "mnist", "--files-from", "-"], "--robustness is for one set", 2),
        (["--beside", "a.pth"], "--robustness", 2),
        (["--robustness", "mnist", "--beside", "a.pth"], "a.pth", 2),
        (["--robustness", "mnist", "--beside", "three.pth"], "three.pth knows other classes", 2),
        (["--filters", "--plot", "missing/f.png"], "no folder", 2),
        (["--filters", "--plot", "/dev/full"], "the disk is full", 2),
    ],
)
def test_a_task_stands_alone(workdir, capsys, flags, words, status):
    save_weights("three.pth", LeNet5(3), classes=["ankle boot", "bag", "coat"])
    os.mkdir("7")
    Image.open(DIGITS / "digit_7.png").save("7/a.png")
    assert main([*flags, *SHIPPED]) == status
    assert_one_error_line(capsys.readouterr().err, words)


# ---------------------------------------------------------------- figures


def test_plot_shows_the_wrong_ones_first(folder, figure):
    Image.open(DIGITS / "digit_3.png").save(folder / "digit_9.png")
    assert main(["in", "--plot", "p.png"]) == 1
    titles = [axes.get_title() for axes in figure["axes"] if axes.get_title()]
    assert [title.split(" ")[0] for title in titles] == ["3", "7", "3"]
    assert titles[0].endswith("✗ is 9")
    assert figure["path"] == "p.png"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--filters"], "filters.png"),
        (["--maps", FOUR], "maps.png"),
        (["--embedding", str(DIGITS)], "embedding.png"),
        (["--robustness", str(DIGITS)], "robustness.png"),
        (["--evaluate", str(DIGITS), "--plot", "set.png"], "set.png"),
        (["--explain", FOUR], "steps.png"),
        ([str(DIGITS), "--plot", "p.png"], "p.png"),
    ],
)
def test_figures_are_a_thousand_pixels_wide(workdir, capsys, flags, name):
    assert main([*flags, *SHIPPED]) == 0
    assert capsys.readouterr().err == f"drawn: {name}\n"
    with Image.open(name) as picture:
        assert picture.width == 1000
    assert os.listdir() == [name]


@pytest.mark.parametrize("task", ["--explain", "--maps"])
def test_figures_of_one_picture(workdir, capsys, figure, task):
    """A blank one has a figure, a missing one has none."""
    Image.new("L", (28, 28)).save("blank.png")
    for picture, status in ((FOUR, 0), ("blank.png", 0), ("missing.png", 1)):
        figure.clear()
        assert main([task, picture, *SHIPPED, "--format", "json", "--reject"]) == status
        (value,) = objects(capsys.readouterr().out)
        assert value["prediction"] == (4 if picture == FOUR else None)
        assert bool(figure) == (status == 0)
        verdict = figure["axes"][-1].get_title() if figure else ""
        assert verdict.startswith({FOUR: "read as 4", "blank.png": "refused"}.get(picture, ""))


@pytest.mark.parametrize("arch", NETWORKS)
def test_figures_of_every_network(workdir, capsys, figure, arch):
    weights = ["--weights", str(ROOT / "pretrained" / f"{arch}.pth")]
    assert main(["--filters", *weights]) == 0
    assert [axes.get_title()[:2] for axes in figure["axes"]] == ["C1", "C3"]
    assert main(["--maps", FOUR, "--format", "json", *weights, "--plot", "m.png"]) == 0
    assert objects(capsys.readouterr().out)[0]["prediction"] == 4
    names = [axes.get_title().split(":")[0] for axes in figure["axes"]]
    layers = ["C1", "C2", "C3", "C4"] if arch == "teacher" else ["C1", "S2", "C3", "S4", "C5", "F6"]
    assert names[: len(layers) + 1] == ["input", *layers]
    assert len(names) == len(layers) + (3 if arch == "lenet5-1998" else 2)  # a bitmap, and the answer
    assert names[-1].startswith("read as 4")
    assert figure["path"] == "m.png"
    assert main(["--embedding", str(DIGITS), *weights]) == 0
    assert arch in figure["axes"][0].get_title()
    assert ("F6" in figure["axes"][0].get_title()) == (arch != "teacher")


def test_other_classes_are_named_and_their_names_do_not_control_the_terminal(workdir, capsys, figure):
    names = ["T-shirt", "a\nb", "\x1b[2J"]
    save_weights("w.pth", LeNet5(3), classes=names)
    for name, digit in zip(names, (1, 2, 3), strict=True):
        os.makedirs(f"in/{name}")
        for size in (28, 30):
            Image.open(DIGITS / f"digit_{digit}.png").resize((size, size)).save(f"in/{name}/{size}.png")
    result = ImageClassifier("w.pth").predict_batch(["in/T-shirt/28.png"])[0]
    assert result.prediction in names
    assert (result.label, len(result.top)) == ("T-shirt", 3)
    for task in ([], ["--evaluate"], ["--embedding"]):
        assert main([*task, "in", "--weights", "w.pth", "--plot", "x.png"]) == 0
    legend = [text.get_text() for text in figure["axes"][0].get_legend().get_texts()]
    assert legend[:3] == ["T-shirt", r"a\nb", r"\x1b[2J"]
    shown = capsys.readouterr().out
    assert r"a\nb" in shown
    assert "\x1b" not in shown
    assert "a\nb" not in shown
    assert main(["--evaluate", "mnist", "--weights", "w.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "classes that are not those of mnist")


def test_robustness_beside_other_weights(workdir, capsys, figure):
    plain = str(ROOT / "pretrained" / "lenet5-plain.pth")
    flags = ["--robustness", str(DIGITS), *SHIPPED, "--beside", plain]
    assert main([*flags, "--format", "json"]) == 0
    curves = json.loads(capsys.readouterr().out)
    assert list(curves) == ["lenet5", "lenet5 (lenet5-plain.pth)"]
    assert dict(curves["lenet5"]["rotation"])[0] == 1.0  # ten of ten are read
    legend = [text.get_text() for text in figure["axes"][0].get_legend().get_texts()]
    assert legend == list(curves)
    assert main(flags) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == sum(len(amounts) + 1 for amounts in curves["lenet5"].values())
    assert max(map(len, rows)) <= 80
    assert rows[0].split() == ["rotation", "lenet5", "lenet5", "(lenet5-plain.pth)"]
    shares = [100 * dict(curve["rotation"])[-60] for curve in curves.values()]
    assert rows[1].split() == ["-60", f"{shares[0]:.2f}", "%", f"{shares[1]:.2f}", "%"]


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["--embedding", str(DIGITS)], 2),
        (["--robustness", str(DIGITS)], 2),
        (["--maps", FOUR], 2),
        ([FOUR], 2),
        (["--filters"], 0),
    ],
)
def test_a_network_whose_answers_are_not_finite_and_one_that_is_dead(workdir, capsys, flags, status):
    for name, value in (("large.pth", 3e38), ("dead.pth", 0)):  # the largest float32 is 3.4e38
        net = LeNet5()
        for p in net.parameters():
            p.data.fill_(value)
        save_weights(name, net)
    assert main([*flags, "--weights", "large.pth"]) == status
    if status:
        assert_one_error_line(capsys.readouterr().err, "not finite numbers")
        assert sorted(os.listdir()) == ["dead.pth", "large.pth"]
    if "--robustness" not in flags:
        assert main([*flags, "--weights", "dead.pth"]) == 0
