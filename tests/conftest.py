"""What the tests share: the repository, real MNIST, the shipped weights, and how to run a script."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lenet5.data.datasets import load_mnist
from lenet5.networks.finder import FinderNetwork
from lenet5.networks.weights import load_weights

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "test_digits"
PRETRAINED = ROOT / "pretrained" / "lenet5.pth"
SHIPPED = ["--weights", str(PRETRAINED)]

SLOW_SECONDS = 300  # for a slow test; the limit of the others is in pyproject.toml
SLOW_FIXTURES = {"browser", "several"}  # a browser, and runs with torchrun


def pytest_configure(config):
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)  # a worker of pytest-xdist has one core
    # Programs that a test starts take the machine's own number of threads, which wait asleep: awake,
    # those of several programs keep each other waiting.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.fork = refuse_to_fork


def refuse_to_fork():
    """The child would wait for ever for locks that are held by threads that it has not."""
    raise RuntimeError("a test forks a process that has threads; start a program instead")


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items):
    for item in items:
        if not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("slow")
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(scope="session")
def mnist():
    """The real 70,000 images, from data/ or fetched into it."""
    return load_mnist(ROOT / "data")


def first_of(images, train: int, test: int):
    """A data set's first images alone: so many to train on, and to test on."""
    return images._replace(
        train_images=images.train_images[:train],
        train_labels=images.train_labels[:train],
        test_images=images.test_images[:test],
        test_labels=images.test_labels[:test],
    )


@pytest.fixture(scope="session")
def pretrained():
    """The shipped network and its metadata."""
    return load_weights(PRETRAINED)


@pytest.fixture(scope="session")
def find():
    """The shipped finder."""
    return FinderNetwork()


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def browser():
    """A real browser; only CI has to have one."""
    from tests.browser import chromium, find_chromium

    if find_chromium() is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium or no Playwright here")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    from lenet5.export import html_page

    path = tmp_path_factory.mktemp("page") / "digit_reader.html"
    html_page.write(path, PRETRAINED)
    return path


@pytest.fixture
def tab(browser, page_file):
    """The page in a tab of its own, where an error of its scripts fails the test."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    errors, requests = [], []
    tab.on("pageerror", lambda error: errors.append(error))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page_file.as_uri())
    yield tab
    assert not errors
    # One file, and nothing from anywhere else.
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    tab.close()


def run_script(name, *flags, cwd, stdin=None, timeout=300, env=None):
    """A script of the project in a process of its own, as a person would start it."""
    return subprocess.run(
        [sys.executable, str(ROOT / name), *map(str, flags)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=env,
    )


def objects(text: str) -> list[dict]:
    """What lines of JSON hold."""
    return [json.loads(line) for line in text.splitlines()]


def assert_same_readings(some, others):
    """Results as JSON has them: labels are equal, probabilities within 1e-5.

    Their last digits depend on the number of threads and on what was read together.
    """
    if isinstance(others, float):
        assert some == pytest.approx(others, rel=0, abs=1e-5)
    elif isinstance(others, dict):
        assert some.keys() == others.keys()
        for name, value in others.items():
            assert_same_readings(some[name], value)
    elif isinstance(others, list):
        assert len(some) == len(others)
        for value, other in zip(some, others, strict=True):
            assert_same_readings(value, other)
    else:
        assert some == others


def assert_one_error_line(stderr, *words):
    """The last line of stderr says what is wrong; nothing looks like a traceback."""
    lines = stderr.strip().splitlines()
    assert "Traceback" not in stderr
    assert lines, "nothing on stderr"
    assert "error: " in lines[-1], stderr
    for word in words:
        assert str(word) in lines[-1], stderr
