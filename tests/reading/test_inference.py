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
from lenet5.imaging.opening import PictureError
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading import classifier as classifier_module
from lenet5.reading import tasks
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.output_file import read_done
from lenet5.reading.results import FIELDS
from lenet5.runtime.errors import UserError
from model import LeNet5
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line, run_script

DIGITS = ROOT / "test_digits"


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


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_fresh_clone_reads_the_ten_digits(workdir):
    """Without weights of one's own: those in pretrained/, and a line says so."""
    done = run_script("inference.py", DIGITS, cwd=workdir)
    assert done.returncode == 0
    assert done.stdout.count("✓") == 10
    assert "10 read, 10 of 10 right (100.00 %)" in done.stdout
    assert "pretrained/lenet5.pth" in done.stderr
    assert max(map(len, done.stderr.splitlines() and done.stdout.splitlines())) < 160


def test_without_a_path_it_reads_test_digits(workdir, capsys):
    assert main([]) == 2
    assert "python generate_test_digits.py" in capsys.readouterr().err
    os.symlink(DIGITS, "test_digits")
    assert main([]) == 0
    assert "10 read" in capsys.readouterr().out


def test_json_objects(folder, capsys):
    assert main(["in", "--format", "json", "--top-k", "2"]) == 1
    captured = capsys.readouterr()
    seven, three, text = objects(captured.out)
    assert all(tuple(value) == FIELDS for value in (seven, three, text))
    assert [value["path"] for value in (seven, three, text)] == [
        "in/7/mine.jpg",
        "in/digit_3.png",
        "in/text.png",
    ]
    assert (seven["prediction"], seven["label"], seven["correct"]) == (7, 7, True)
    assert (three["prediction"], three["label"], three["correct"]) == (3, 3, True)
    assert three["top"][0] == [3, three["confidence"]]
    assert len(three["top"]) == 2
    assert "not a picture" in text["error"]
    assert all(text[name] is None for name in FIELDS if name not in ("path", "error"))
    assert "in/text.png" in captured.err
    assert "1 could not be read" in captured.err


def test_csv_has_the_same_fields(folder, capsys):
    assert main(["in", "--format", "csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["prediction"] for row in rows] == ["7", "3", ""]
    assert [row["correct"] for row in rows] == ["True", "True", ""]
    assert json.loads(rows[1]["top"])[0][0] == 3
    assert "not a picture" in rows[2]["error"]


def test_table_names_what_could_not_be_read_and_the_misses(folder, capsys):
    Image.open(DIGITS / "digit_3.png").save(folder / "digit_4.png")
    assert main(["in"]) == 1
    out = capsys.readouterr().out
    assert "in/text.png" in out
    assert "not read: it is not a picture" in out
    assert "✗ is 4" in out
    assert "3 read, 2 of 3 right (66.67 %), 1 could not be read" in out
    assert "  4 read as 3: 1" in out


def test_wrong_answers_do_not_change_the_status(workdir):
    Image.open(DIGITS / "digit_3.png").save("digit_4.png")
    assert main(["digit_4.png"]) == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "No such file"),
        (lambda p: p.mkdir(), "no picture was found in it"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.symlink_to(p), "Too many levels of symbolic links"),
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
    Image.open(DIGITS / "digit_5.png").save(os.path.join(workdir, "a.png"))
    os.rename("a.png", path)
    # In a process of its own, since what matters is what reaches a pipe.
    done = run_script("inference.py", ".", cwd=workdir)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3  # no name breaks its line
    done = run_script("inference.py", path, "--format", "json", cwd=workdir)
    assert objects(done.stdout)[0]["path"] == path


def test_a_folder_is_searched_in_sorted_order(workdir):
    for name in ("b/2.png", "b/10.PNG", "a.jpeg", "b.png", "c/x.txt", "c/d/z.webp"):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        open(name, "w").close()
    os.symlink("..", "b/up")  # a loop is not followed
    assert list(find_pictures(["."])) == [
        "./a.jpeg",
        "./b/10.PNG",
        "./b/2.png",
        "./b.png",
        "./c/d/z.webp",
    ]


def test_pictures_are_what_pillow_registers():
    registered = Image.registered_extensions()
    assert all(picture_files.is_registered(extension) for extension in registered)
    assert not any(picture_files.is_registered(extension) for extension in ("", ".", ".txt", "png"))


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("digit_3.png", 3),
        ("digit_3_font_bold_1.jpg", 3),
        ("digit_33.png", None),
        ("my_digit_3.png", None),
        ("5/any.png", 5),
        ("5/digit_3.png", 3),
        ("55/any.png", None),
        ("any.png", None),
    ],
)
def test_the_label_is_where_a_name_tells_it(classifier, path, label):
    assert classifier.label_of(path) == label


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


def test_files_from_standard_input(workdir):
    lines = f"{DIGITS}/digit_1.png\n\n{DIGITS}/digit_2.png\r\nmissing.png\n"
    done = run_script("inference.py", "--files-from", "-", "--format", "json", cwd=workdir, stdin=lines)
    assert done.returncode == 1
    assert [value["prediction"] for value in objects(done.stdout)] == [1, 2, None]


def test_files_from_a_file(workdir, capsys):
    (workdir / "list").write_text(f"{DIGITS}/digit_1.png\n")
    assert main(["--files-from", "list"]) == 0
    assert main(["--files-from", "missing"]) == 2
    assert "cannot read missing" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["json", "csv"])
@pytest.mark.parametrize("cut", [0, 1, 40])
def test_an_output_file_is_continued(workdir, capsys, format, cut):
    """What was scored is not scored again, and a last line that was cut off is."""
    paths = [str(DIGITS / f"digit_{i}.png") for i in range(4)]
    assert main([*paths, "--format", format, "--output", "whole"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*paths[:2], "missing.png", "--format", format, "--output", "out"]) == 1
    data = (workdir / "out").read_bytes()
    (workdir / "out").write_bytes(data[: len(data) - cut])
    scored = []
    predict = ImageClassifier.predict_batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ImageClassifier, "predict_batch", lambda s, p, *made: scored.extend(p) or predict(s, p)
        )
        # The missing picture counts again: the status is that of all results in the file.
        todo = [*paths[:2], "missing.png", *paths[2:]]
        assert main([*todo, "--format", format, "--output", "out"]) == 1
    assert scored == (paths[2:] if cut == 0 else ["missing.png", *paths[2:]])
    # The confidence's last digit may depend on how many pictures were read together.
    read = [row for row, _ in read_done("out", format) if row["path"] != "missing.png"]
    whole = [row for row, _ in read_done("whole", format)]
    for name in ("path", "prediction", "label", "correct"):
        assert [row[name] for row in read] == [row[name] for row in whole]
    assert (workdir / "out").read_text().count("path") == (1 if format == "csv" else 5)
    assert "4 read, 4 of 4 right" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["json", "csv"])
def test_an_output_file_is_whole_up_to_some_line_wherever_it_was_cut(workdir, format):
    """Also within a name that has line breaks and quotation marks in it."""
    names = ["a.png", 'b"\nc.png', "d\n\n.png"]  # of no pictures: each gets its error
    assert main([*names, "--format", format, "--output", "out"]) == 1
    data = (workdir / "out").read_bytes()
    for cut in range(len(data) + 1):
        (workdir / "cut").write_bytes(data[:cut])
        found = list(read_done("cut", format))
        assert [row["path"] for row, _ in found] == names[: len(found)]
        assert all(length <= cut for _, length in found)
    assert (len(found), found[-1][1]) == (3, len(data))


def test_an_output_file_that_is_something_else_is_left_alone(workdir, capsys):
    (workdir / "letter.txt").write_text("Dear Ann,\n")
    assert main([str(DIGITS), "--output", "letter.txt"]) == 2
    assert (workdir / "letter.txt").read_text() == "Dear Ann,\n"
    assert "give another --output" in capsys.readouterr().err


def test_reject(workdir, capsys):
    Image.new("L", (50, 50), 200).save("blank.png")
    flags = ["blank.png", str(DIGITS / "digit_7.png"), "--format", "json"]
    assert main(flags) == 0
    assert all("reason" not in value for value in objects(capsys.readouterr().out))
    assert main([*flags, "--reject"]) == 0
    blank, seven = objects(capsys.readouterr().out)
    assert blank["prediction"] is None
    assert blank["reason"].startswith("blank")
    assert seven["prediction"] == 7
    assert main([*flags[:2], "--reject"]) == 0
    assert "2 read, 1 of 1 right (100.00 %), 1 refused" in capsys.readouterr().out


def test_reject_keeps_99_percent_of_the_validation_images(mnist, pretrained):
    """On other held-out images, the test set, the share is about the same."""
    metadata = pretrained[1]
    classifier = ImageClassifier(PRETRAINED, device="cpu", reject=True)
    answers = classifier.predict_batch(mnist.test_images.numpy())
    refused = np.mean([answer.prediction is None for answer in answers])
    assert 0.005 < refused < 0.015
    wrong = [
        answer.prediction != label
        for answer, label in zip(answers, mnist.test_labels.tolist(), strict=True)
        if answer.prediction is not None
    ]
    assert np.mean(wrong) < (1 - metadata["test_accuracy"]) * 0.7  # refusing removes errors


def test_invert(workdir, capsys):
    for choice, prediction in (("auto", 3), ("yes", 3)):
        assert main([str(DIGITS / "digit_3.png"), "--invert", choice, "--format", "json"]) == 0
        assert objects(capsys.readouterr().out)[0]["prediction"] == prediction
    assert main([str(DIGITS / "digit_3.png"), "--invert", "no", "--reject", "--format", "json"]) == 0
    assert objects(capsys.readouterr().out)[0]["reason"].startswith("blank")


def test_plot_shows_the_wrong_ones_first(folder, monkeypatch):
    from lenet5.evaluation import evaluation_figures, figures, network_figures

    Image.open(DIGITS / "digit_3.png").save(folder / "digit_9.png")
    shown = {}
    for module in (evaluation_figures, figures, network_figures):
        monkeypatch.setattr(module, "save", lambda figure, path: shown.update(figure=figure, path=path))
    assert main(["in", "--plot", "p.png"]) == 1
    titles = [axes.get_title() for axes in shown["figure"].axes if axes.get_title()]
    assert [title.split(" ")[0] for title in titles] == ["3", "7", "3"]
    assert titles[0].endswith("✗ is 9")
    assert shown["path"] == "p.png"


def test_plot_is_a_picture(workdir):
    assert main([str(DIGITS), "--plot", "p.png"]) == 0
    assert Image.open("p.png").size[0] >= 1000


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_batches_and_single_pictures_agree(workdir, capsys, batch_size):
    assert main([str(DIGITS), "--format", "json", "--batch-size", str(batch_size)]) == 0
    results = objects(capsys.readouterr().out)
    classifier = ImageClassifier(PRETRAINED)
    for value in results:
        alone = classifier.predict_batch([value["path"]])[0]
        assert alone.prediction == value["prediction"]
        assert alone.confidence == pytest.approx(value["confidence"], abs=1e-5)


def test_from_python(classifier, workdir):
    path = DIGITS / "digit_4.png"
    image = Image.open(path)
    assert classifier.predict(path) == classifier.predict(str(path)) == 4
    assert classifier.predict(image) == classifier.predict(np.asarray(image)) == 4
    (workdir / "bad.png").write_bytes(b"x")
    good, bad, array = classifier.predict_batch([path, "bad.png", np.asarray(image)])
    assert good.probabilities.shape == (10,)
    assert good.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert good.top[0] == (4, good.confidence)
    assert good.image.shape == (28, 28)
    assert (bad.prediction, bad.probabilities) == (None, None)
    assert bad.error
    assert (array.path, array.label, array.prediction) == (None, None, 4)
    assert classifier.predict_batch([]) == []
    with pytest.raises(PictureError, match=r"bad\.png"):
        classifier.predict("bad.png")


def test_class_names_that_are_no_digits(workdir):
    torch.manual_seed(0)
    save_weights("w.pth", LeNet5(3), classes=["ankle boot", "bag", "coat"])
    os.mkdir("bag")
    Image.open(DIGITS / "digit_4.png").save("bag/x.png")
    result = ImageClassifier("w.pth").predict_batch(["bag/x.png"])[0]
    assert result.prediction in ("ankle boot", "bag", "coat")
    assert result.label == "bag"
    assert len(result.top) == 3


@pytest.mark.slow
def test_wrong_usage_is_one_line_and_status_2(workdir):
    (workdir / "bad.pth").write_bytes(b"not weights")
    picture = str(DIGITS / "digit_4.png")
    cases = [
        (["--weights", "missing.pth"], "there are no weights at missing.pth"),
        (["--weights", "bad.pth"], "not a weights file"),
        (["--weights", picture], "not a weights file"),
        (["--top-k", "0"], "--top-k"),
        (["--batch-size", "-1"], "--batch-size"),
        (["--format", "xml"], "--format"),
        (["--plot", "missing/p.png"], "there is no folder"),
        (["--output", "missing/o.json"], "there is no folder"),
    ]
    if not torch.cuda.is_available():
        cases.append((["--device", "cuda"], "this machine has no cuda device"))
    for flags, words in cases:
        done = run_script("inference.py", picture, *flags, cwd=workdir)
        assert done.returncode == 2, flags
        assert_one_error_line(done.stderr, words)


def test_damaged_own_weights_are_not_replaced_silently(workdir, capsys):
    (workdir / "lenet5_model.pth").write_bytes(b"damaged")
    assert main([str(DIGITS)]) == 2
    assert "lenet5_model.pth is not a weights file" in capsys.readouterr().err
    with pytest.raises(UserError):
        ImageClassifier()


def test_a_reader_that_goes_away_is_no_traceback(workdir):
    command = f"{sys.executable} {ROOT}/inference.py {DIGITS} --format json --batch-size 1 | head -1"
    done = subprocess.run(command, shell=True, cwd=workdir, capture_output=True, text=True, check=False)
    assert len(objects(done.stdout)) == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_inference_without_a_plot_imports_no_more_than_it_needs(workdir):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import inference
assert inference.main([{str(DIGITS)!r}]) == 0
print(sorted({{"matplotlib", "torchvision", "dataset"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=workdir, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_importing_a_script_does_nothing(workdir):
    names = "train, inference, generate_test_digits, lenet5.evaluation.figures"
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {names}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=workdir, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr, os.listdir(workdir)) == ("", "", [])


def test_default_weights_are_ones_own_first(workdir, capsys):
    save_weights("lenet5_model.pth", LeNet5())
    assert classifier_module.default_weights() == "lenet5_model.pth"
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- a whole set, and one picture's steps


def test_evaluation_of_mnist_is_that_of_the_metadata(workdir, capsys):
    os.symlink(ROOT / "data", "data")
    assert main(["--evaluate", "mnist", "--weights", str(PRETRAINED), "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["images"] == 10_000
    assert values["top_1"] == ImageClassifier(PRETRAINED).metadata["test_accuracy"]
    assert values["top_1"] < values["top_3"] <= 1
    assert sum(map(sum, values["confusion"])) == 10_000
    assert 0 < values["calibration_error"] < 0.02


@pytest.mark.slow
def test_evaluation_of_unseen_fonts(workdir, capsys):
    flags = ["--evaluate", "fonts", "--weights", str(PRETRAINED), "--plot", "set.png", "--reject"]
    assert main(flags) == 0
    captured = capsys.readouterr()
    assert "images             2,070" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80
    assert "answered with --reject" in captured.err
    with Image.open("set.png") as figure:
        assert figure.width >= 1000


def test_evaluation_of_a_folder(folder, capsys):
    Image.open(DIGITS / "digit_3.png").save(folder / "unnamed.png")
    assert main(["--evaluate", "in", "--weights", str(PRETRAINED), "--plot", "set.png"]) == 1
    captured = capsys.readouterr()
    assert "top-1              100.00 %" in captured.out
    assert "images             2" in captured.out
    assert "left out: in/text.png: it is not a picture" in captured.err
    assert "left out: in/unnamed.png: neither its name nor its folder" in captured.err
    assert os.path.exists("set.png")


def test_an_evaluation_agrees_with_reading(folder, classifier):
    """The same pictures, one by one and as a set."""
    images, labels, unusable = tasks.evaluation_set(str(DIGITS), classifier)
    results = classifier.predict_batch(sorted(DIGITS.iterdir()))
    assert unusable == 0
    assert labels.tolist() == [result.label for result in results]
    for image, result in zip(images.numpy(), results, strict=True):
        np.testing.assert_array_equal(image, result.image)


def test_a_temperature_in_the_weights_makes_confidences_smaller(workdir):
    net, metadata = load_weights(PRETRAINED)
    save_weights("warm.pth", net, **(metadata | {"temperature": 3.0}))
    save_weights("plain.pth", net, **{k: v for k, v in metadata.items() if k != "temperature"})
    warm, plain = (
        ImageClassifier(name).predict_batch([DIGITS / "digit_6.png"])[0]
        for name in ("warm.pth", "plain.pth")
    )
    assert warm.prediction == plain.prediction
    expected = torch.tensor(plain.probabilities).log().div(3).softmax(dim=0).numpy()
    np.testing.assert_allclose(warm.probabilities, expected, atol=1e-5)


def test_explain_draws_the_steps_and_the_answer(workdir, capsys):
    picture = str(DIGITS / "digit_4.png")
    assert main(["--explain", picture, "--weights", str(PRETRAINED), "--format", "json"]) == 0
    (value,) = objects(capsys.readouterr().out)
    assert value["prediction"] == 4
    with Image.open("steps.png") as figure:
        assert figure.width >= 1000
    # A picture of MNIST's size has no room for light and lines, and its steps too.
    Image.new("L", (28, 28)).save("blank.png")
    assert main(["--explain", "blank.png", "--weights", str(PRETRAINED), "--plot", "b.png"]) == 0
    assert os.path.exists("b.png")
    assert main(["--explain", "missing.png", "--weights", str(PRETRAINED), "--plot", "c.png"]) == 1
    assert not os.path.exists("c.png")


def test_an_empty_set_is_partly_done(workdir, capsys):
    assert main(["--evaluate", "nowhere", "--weights", str(PRETRAINED)]) == 1
    assert_one_error_line(capsys.readouterr().err, "nothing in nowhere")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--evaluate", "mnist", "--format", "csv"], "--format json"),
        (["--evaluate", "mnist", "a.png"], "--evaluate is for one set"),
        (["--explain", "a.png", "b.png"], "--explain is for one picture"),
        (["--explain", "a.png", "--evaluate", "mnist"], "leave one out"),
        (["--maps", "a.png", "b.png"], "--maps is for one picture"),
        (["--maps", "a.png", "--filters"], "--maps and --filters are two things to do"),
        (["--filters", "a.png"], "--filters is for the network alone"),
        (["--filters", "--format", "json"], "leave --format out"),
        (["--embedding", "mnist", "--format", "csv"], "leave --format out"),
        (["--embedding", "mnist", "--output", "o"], "--embedding is for one set"),
        (["--robustness", "mnist", "--format", "csv"], "--format json"),
        (["--robustness", "mnist", "--files-from", "-"], "--robustness is for one set"),
        (["--beside", "a.pth"], "--beside is for --robustness"),
        (["--robustness", "mnist", "--beside", "a.pth"], "there are no weights at a.pth"),
        (["--robustness", "mnist", "--beside", "three.pth"], "three.pth knows other classes than"),
        (["--filters", "--plot", "missing/f.png"], "there is no folder"),
        (["--filters", "--plot", "/dev/full"], "the disk is full"),
    ],
)
def test_a_task_stands_alone(workdir, capsys, flags, words):
    save_weights("three.pth", LeNet5(3), classes=["ankle boot", "bag", "coat"])
    assert main([*flags, "--weights", str(PRETRAINED)]) == 2
    assert_one_error_line(capsys.readouterr().err, words)


# ---------------------------------------------------------------- figures


@pytest.fixture
def figure(monkeypatch):
    """The last figure that would be saved, without the time that it takes."""
    from lenet5.evaluation import evaluation_figures, figures, network_figures

    saved = {}
    for module in (evaluation_figures, figures, network_figures):
        monkeypatch.setattr(
            module, "save", lambda figure, path: saved.update(axes=figure.axes, path=path)
        )
    return saved


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--filters"], "filters.png"),
        (["--maps", str(DIGITS / "digit_4.png")], "maps.png"),
        (["--embedding", str(DIGITS)], "embedding.png"),
        (["--robustness", str(DIGITS)], "robustness.png"),
        (["--evaluate", str(DIGITS), "--plot", "set.png"], "set.png"),
        (["--explain", str(DIGITS / "digit_4.png")], "steps.png"),
    ],
)
def test_figures_are_a_thousand_pixels_wide(workdir, capsys, flags, name):
    assert main([*flags, "--weights", str(PRETRAINED)]) == 0
    assert capsys.readouterr().err == f"drawn: {name}\n"
    with Image.open(name) as picture:
        assert picture.width == 1000
    assert os.listdir() == [name]


@pytest.mark.parametrize("arch", NETWORKS)
def test_figures_of_every_network(workdir, capsys, figure, arch):
    weights = ["--weights", str(ROOT / "pretrained" / f"{arch}.pth")]
    assert main(["--filters", *weights]) == 0
    assert [axes.get_title()[:2] for axes in figure["axes"]] == ["C1", "C3"]
    picture = str(DIGITS / "digit_4.png")
    assert main(["--maps", picture, "--format", "json", *weights, "--plot", "m.png"]) == 0
    assert objects(capsys.readouterr().out)[0]["prediction"] == 4
    names = [axes.get_title().split(":")[0] for axes in figure["axes"]]
    layers = ["C1", "C2", "C3", "C4"] if arch == "teacher" else ["C1", "S2", "C3", "S4", "C5", "F6"]
    bitmap = ["what the answer wants F6 to be"] if arch == "lenet5-1998" else []
    assert names[:-1] == ["input", *layers, *bitmap]
    assert names[-1].startswith("read as 4")
    assert figure["path"] == "m.png"
    assert main(["--embedding", str(DIGITS), *weights]) == 0
    assert arch in figure["axes"][0].get_title()
    assert ("F6" in figure["axes"][0].get_title()) == (arch != "teacher")


def test_maps_of_1998_show_the_bitmap_of_the_answer(workdir, figure):
    picture, weights = str(DIGITS / "digit_4.png"), str(ROOT / "pretrained" / "lenet5-1998.pth")
    assert main(["--maps", picture, "--weights", weights]) == 0
    image = figure["axes"][-2].get_images()[0].get_array()
    height, width = (side / count for side, count in zip(image.shape, (12, 7), strict=True))
    found = [
        "".join(
            "#" if image[int((i + 0.5) * height), int((j + 0.5) * width)] > 0 else "." for j in range(7)
        )
        for i in range(12)
    ]
    # The fifth column of BITMAPS in lenet1998.py, upright.
    assert found[:3] == ["....##.", "....##.", "...###."]
    assert found[8:10] == ["#######", "#######"]


def test_a_refused_picture_says_so_in_its_maps(workdir, figure):
    Image.new("L", (50, 50), 200).save("blank.png")
    assert main(["--maps", "blank.png", "--weights", str(PRETRAINED), "--reject"]) == 0
    assert figure["axes"][-1].get_title().startswith("refused")
    assert main(["--maps", "missing.png", "--weights", str(PRETRAINED)]) == 1


def test_figures_of_other_classes(workdir, capsys, figure):
    names = ["T-shirt", "trousers", "ankle boot"]
    save_weights("w.pth", LeNet5(3), classes=names)
    for name, digit in zip(names, (1, 2, 3), strict=True):
        os.makedirs(f"in/{name}")
        for size in (28, 30):
            Image.open(DIGITS / f"digit_{digit}.png").resize((size, size)).save(f"in/{name}/{size}.png")
    for task in ("--embedding", "--evaluate"):
        assert main([task, "in", "--weights", "w.pth", "--plot", "x.png"]) == 0
        if task == "--embedding":
            legend = [text.get_text() for text in figure["axes"][0].get_legend().get_texts()]
            assert legend[:3] == names
    assert main(["--evaluate", "mnist", "--weights", "w.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "3 classes that are not those of mnist")


def test_robustness_beside_other_weights(workdir, capsys, figure):
    plain = str(ROOT / "pretrained" / "lenet5-plain.pth")
    flags = ["--robustness", str(DIGITS), "--weights", str(PRETRAINED), "--beside", plain]
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


def test_an_embedding_needs_two_classes(workdir, capsys):
    os.mkdir("7")
    Image.open(DIGITS / "digit_7.png").save("7/a.png")
    assert main(["--embedding", "7", "--weights", str(PRETRAINED)]) == 1
    assert_one_error_line(capsys.readouterr().err, "7 has pictures of one class")


@pytest.mark.parametrize("task", ["--embedding", "--robustness", "--maps"])
def test_figures_of_answers_that_are_no_numbers_are_one_line(workdir, capsys, task):
    net = LeNet5()
    for p in net.parameters():
        p.data.fill_(3e38)
    save_weights("w.pth", net)
    of = str(DIGITS / "digit_3.png") if task == "--maps" else str(DIGITS)
    assert main([task, of, "--weights", "w.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "not finite numbers")
    assert os.listdir() == ["w.pth"]


def test_figures_of_a_network_that_is_dead(workdir, capsys):
    net = LeNet5()
    for p in net.parameters():
        p.data.zero_()
    save_weights("w.pth", net)
    for flags in (["--filters"], ["--embedding", str(DIGITS)], ["--maps", str(DIGITS / "digit_3.png")]):
        assert main([*flags, "--weights", "w.pth"]) == 0


@pytest.mark.parametrize("task", ["--explain", "--maps"])
def test_a_picture_is_prepared_once(workdir, monkeypatch, figure, task):
    steps, calls = classifier_module.steps, []
    monkeypatch.setattr(classifier_module, "steps", lambda *a: calls.append(a) or steps(*a))
    assert main([task, str(DIGITS / "digit_4.png"), "--weights", str(PRETRAINED)]) == 0
    assert len(calls) == 1


# ---------------------------------------------------------------- what comes from outside


def test_a_folder_may_be_deeper_than_python_calls_functions(workdir):
    depth = sys.getrecursionlimit() + 10
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")  # step by step, as the whole name grows long
    open("a.png", "w").close()
    os.chdir(workdir)
    (found,) = find_pictures(["."])
    assert found.endswith("/d/a.png")
    # Neither can pytest remove so deep a folder afterwards.
    os.chdir(os.path.dirname(found))
    os.remove("a.png")
    for _ in range(depth):
        os.chdir("..")
        os.rmdir("d")


def test_names_of_classes_do_not_control_the_terminal(workdir, capsys):
    names = ["a\nb", "\x1b[2J", *map(str, range(8))]
    save_weights("w.pth", LeNet5(), classes=names)
    os.mkdir("in")
    for name in ("digit_3.png", "digit_7.png"):
        Image.open(DIGITS / name).save(f"in/{name}")
    assert main(["--weights", "w.pth", "in", "--plot", "p.png"]) == 0
    assert main(["--weights", "w.pth", "--evaluate", "in"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "a\nb" not in shown
    assert "a\\nb" in shown


def test_weights_whose_answers_are_no_numbers_are_one_line(workdir, capsys):
    net = LeNet5()
    for p in net.parameters():
        p.data.fill_(3e38)  # the largest float32 is 3.4e38
    save_weights("w.pth", net)
    assert main(["--weights", "w.pth", str(DIGITS / "digit_3.png")]) == 2
    assert_one_error_line(capsys.readouterr().err, "not finite numbers")


WRITTEN = {"path": "a.png", "prediction": 3, "confidence": 1.0, "top": [[3, 1.0]]}
WRITTEN |= {"label": 3, "correct": True, "error": None}


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(WRITTEN | {"path": [1]}),
        json.dumps(WRITTEN | {"label": {}}),
        json.dumps(WRITTEN | {"correct": "yes"}),
        json.dumps(WRITTEN | {"correct": []}),
        "[" * 100_000,
        "[]",
        "{}",
    ],
)
def test_an_output_file_with_odd_results_is_left_alone(workdir, capsys, line):
    (workdir / "out.json").write_text(line + "\n")
    assert main([str(DIGITS), "--output", "out.json"]) == 2
    assert_one_error_line(capsys.readouterr().err, "holds no json results")
    assert (workdir / "out.json").read_text() == line + "\n"
