"""Made-up pictures without worker processes."""

import contextlib
from types import SimpleNamespace

import pytest

from lenet5.data import picture_workers
from tests.data.conftest import small_pool


@pytest.fixture(scope="session")
def pool():
    return small_pool()


@pytest.fixture
def no_workers(monkeypatch, pool):
    """Pictures are made in this process, of the small pool."""

    @contextlib.contextmanager
    def workers(pool, count):
        yield SimpleNamespace(map=lambda make, *arguments, chunksize: map(make, *arguments))

    monkeypatch.setattr(picture_workers, "KNOWN", [pool])
    monkeypatch.setattr(picture_workers, "picture_workers", workers)
