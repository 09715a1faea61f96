"""An interrupt early in a script's life, while it imports, ends it in one line."""

import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

LIGHT = ["inference", "read_number", "draw"]
SCRIPTS = [*LIGHT, "train", "export", "generate_test_digits"]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interrupt_in_the_first_seconds_is_no_traceback(workdir, script):
    flags = {"draw": ["--no-browser"], "export": ["--html", "page.html"]}.get(script, [])
    for seconds in (0.2, 0.4, 0.8, 1.5, 2.0):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / f"{script}.py"), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 130, 2), err
        assert "Traceback" not in err


@pytest.mark.parametrize("script", [*LIGHT, "lenet5.reading.workers"])
def test_a_script_is_light_to_import(script):
    """A signal before main() begins, and a worker process, wait for no heavy import."""
    program = (
        f"import sys, {script}\nassert not set(sys.modules) & {{'torch', 'numpy', 'PIL', 'matplotlib'}}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
