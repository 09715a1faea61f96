"""A few of the faults of benchmarks/kills.py, which checks every file and compares to the bit."""

import os

import pytest

from tests.conftest import run_script

LITTLE = {
    "SIGKILL between two file operations": 3,  # every 40th of 81
    "SIGKILL at a random moment": 1,
    "the disk is full from a file operation on": 2,
    "two runs in the same second, the same outputs": 1,
    "SIGKILL at a random moment (inference.py, csv)": 2,
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_whatever_ends_a_run_it_resumes_as_if_nothing_had(workdir):
    done = run_script("benchmarks/kills.py", "--short", cwd=workdir, timeout=580)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    tried = {row[0]: int(row[2]) for row in rows[2:]}
    assert tried.keys() == LITTLE.keys()
    assert all(tried[name] >= count for name, count in LITTLE.items())
    assert {row[5] for row in rows[2:]} == {"0"}  # of no epoch that was on the screen
