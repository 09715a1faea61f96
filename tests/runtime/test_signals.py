"""An interrupt early in a script's life, while it imports, ends it in one line."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIGHT = ["inference", "read_number", "draw"]
SCRIPTS = [*LIGHT, "train", "export", "generate_test_digits"]


def handles_signals(process) -> bool:
    """Whether the script has set its handlers; before it does, the interpreter itself starts."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"SigCgt:\s*(\w+)", status)  # as hexadecimal; a process that ended has it too
    return bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interrupt_in_the_first_seconds_is_no_traceback(workdir, script):
    flags = {"draw": ["--no-browser"], "export": ["--html", "page.html"]}.get(script, [])
    for seconds in (0, 0.2, 0.4, 0.8, 1.5, 2.0):  # after its first lines
        process = subprocess.Popen(
            [sys.executable, str(ROOT / f"{script}.py"), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not handles_signals(process):
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        # Negative: the script had finished, and the interpreter was ending.
        assert process.returncode in (0, 130, 2, -signal.SIGINT), err
        assert "Traceback" not in err


@pytest.mark.parametrize("script", [*LIGHT, "lenet5.reading.workers"])
def test_a_script_is_light_to_import(script):
    """A signal before main() begins, and a worker process, wait for no heavy import."""
    program = (
        f"import sys, {script}\nassert not set(sys.modules) & {{'torch', 'numpy', 'PIL', 'matplotlib'}}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
