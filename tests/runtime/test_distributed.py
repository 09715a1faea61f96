"""Several processes do what one does: `torchrun` with gloo, on this machine's CPU.

Two and three processes are started once each, for all tests; they do what
`tests/together.py` says, and this process does the same alone.
"""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import inference
import train
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import UserError
from lenet5.training import run_folder, training_pool
from lenet5.training.recipes import RECIPES, Settings
from tests import together
from tests.conftest import ROOT, assert_one_error_line, assert_same_readings
from tests.test_contract import pictures  # noqa: F401  (a fixture)

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun sets it
COUNTS = (2, 3)
# Float32 has seven digits; the sums are taken in another order, and momentum adds them up.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def torchrun(count, script, *flags, cwd):
    command = [*TORCHRUN, f"--nproc-per-node={count}", str(ROOT / script), *map(str, flags)]
    return subprocess.Popen(
        command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """By the number of processes: what each has in the end, their folder, and what they printed."""
    # Of pytest's own processes (-n auto) one starts them, and the others wait for what they leave.
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "several"
    printed = folder / "printed.json"
    try:
        folder.mkdir()
    except FileExistsError:
        wait_for(printed.exists)
    else:
        words = {}
        for count in COUNTS:
            process = torchrun(count, "tests/together.py", folder, cwd=folder)
            words[count] = dict(zip(("out", "err"), process.communicate(timeout=300), strict=True))
        write_file(printed, json.dumps(words).encode())
    found = {int(count): words for count, words in json.loads(printed.read_text()).items()}
    for count, words in found.items():
        files = [folder / f"{count}-{rank}.pth" for rank in range(count)]
        assert all(path.exists() for path in files), words["err"]
        words["states"] = [torch.load(path, weights_only=False) for path in files]
        words["folder"] = folder / f"{count}-processes"
    return found


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def alone():
    """What this process has of the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield together.parts()
    torch.set_num_threads(threads)


def use_few_images(patch, mnist):
    patch.setattr(together, "load_dataset", lambda name, folder: mnist)
    patch.setattr(training_pool, "load_dataset", together.few_images)
    patch.setattr(train, "draw_training", lambda run: None)


@pytest.fixture
def few_images(monkeypatch, mnist):
    use_few_images(monkeypatch, mnist)


@pytest.fixture(scope="module")
def twenty_steps(alone, mnist, tmp_path_factory):
    """The weights that one process has after twenty steps."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        use_few_images(patch, mnist)
        patch.chdir(folder)
        assert train.main([*together.STEPS, "--output", "steps.pth"]) == 0
    return load_weights(folder / "steps.pth")[0].state_dict()


def place(monkeypatch, rank, count):
    monkeypatch.setattr(distributed, "here", distributed.Place(rank, count))


# ------------------------------------------------------------ the parts


def test_shards_cover_all_and_their_sizes_differ_by_one_at_most(monkeypatch):
    for count, length in itertools.product(range(1, 6), range(20)):
        parts = []
        for rank in range(count):
            place(monkeypatch, rank, count)
            parts.append(list(range(100))[distributed.shard(40, 40 + length)])
        assert list(itertools.chain(*parts)) == list(range(40, 40 + length))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_a_process_alone_needs_no_torch_distributed():
    program = (
        "import sys\n"
        "from lenet5.runtime import distributed\n"
        "assert distributed.under_torchrun(lambda argv: distributed.broadcast(lambda: 3))() == 3\n"
        "assert (distributed.all_gather(5), distributed.all_max(6)) == ([5], 6)\n"
        "assert distributed.shard(2, 9) == slice(2, 9)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("count", COUNTS)
def test_what_processes_tell_each_other(several, count):
    for rank, found in enumerate(several[count]["states"]):
        assert (found["first"], found["all"], found["largest"]) == (7, list(range(count)), 0)
        assert found["share"][count] == slice(10 + rank, 11 + rank)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("what", ["known classes", "a process without images", "a teacher"])
def test_an_epoch_is_that_of_one_process(several, alone, count, what):
    """Also where a batch, or its images with a class, cannot be shared out evenly."""
    first = several[count]["states"][0][what]
    assert torch.equal(first["order"], alone[what]["order"])
    for name in ("net", "average"):
        torch.testing.assert_close(first[name], alone[what][name], **CLOSE)
    torch.testing.assert_close(first["tally"][0], alone[what]["tally"][0], **CLOSE)
    # Images and steps are counted; of hits, rounding may turn one where two logits are the same.
    assert first["tally"][2:].tolist() == alone[what]["tally"][2:].tolist()
    assert abs(first["tally"][1] - alone[what]["tally"][1]) <= 1
    for other in several[count]["states"][1:]:
        assert torch.equal(other[what]["tally"], first["tally"])
        assert all(torch.equal(other[what]["net"][key], first["net"][key]) for key in first["net"])


def test_the_weights_of_those_epochs_tell_a_wrong_share(alone):
    """What a mean over processes in place of images would have changed is far above the tolerance."""
    torch.manual_seed(0)
    start = together.LeNet5().state_dict()
    moved = {key: (alone["known classes"]["net"][key] - start[key]).abs().max() for key in start}
    assert min(moved.values()) > 100 * CLOSE["atol"]


@pytest.mark.parametrize("images", [1, 2, 500, 501])
def test_an_evaluation_counts_each_image_once(several, alone, images):
    wanted = alone[f"evaluation of {images}"]
    for states in (several[count]["states"] for count in COUNTS):
        for found in (state[f"evaluation of {images}"] for state in states):
            torch.testing.assert_close(found["logits"], wanted["logits"], **CLOSE)
            assert round(found["accuracy"] * images) == round(wanted["accuracy"] * images)


# ------------------------------------------------------------ train.py


def test_twenty_steps_give_the_weights_of_one_process(several, twenty_steps):
    assert several[2]["states"][0]["steps"] == several[2]["states"][1]["steps"] == 0
    two = load_weights(several[2]["folder"] / "steps.pth")[0].state_dict()
    # Adam divides each gradient by its size, and what is small has few digits: with another number
    # of threads weights differ by up to 2e-6 (benchmarks/threads.py), of up to 0.8.
    torch.testing.assert_close(two, twenty_steps, rtol=0, atol=2e-5)


def test_an_epoch_gives_the_accuracy_of_one_process(several, few_images, workdir):
    assert train.main([*together.EPOCH, "--output", "epoch.pth"]) == 0
    one, two = (load_weights(f / "epoch.pth")[1] for f in (workdir, several[2]["folder"]))
    assert abs(one["test_accuracy"] - two["test_accuracy"]) <= 0.005  # DESIGN: 0.5 points
    assert one["test_accuracy"] > 0.7  # guessing has 0.1


def test_only_the_first_process_prints_and_writes(several):
    folder, out = several[2]["folder"], several[2]["out"]
    assert out.count("kept epoch") == 2  # of two whole runs
    assert out.count("on cpu in 2 processes") == 3
    names = {path.name for path in folder.iterdir()}
    wanted = {"steps.pth", "epoch.pth", "training_results.png", "runs", "read.jsonl"}
    assert names == wanted
    assert len(list((folder / "runs").iterdir())) == 3  # of those that had all they needed


def test_a_signal_to_one_process_saves_and_another_number_goes_on(
    several, few_images, twenty_steps, monkeypatch, capsys
):
    assert [found["stopped"] for found in several[2]["states"]] == [143, 143]
    (hint,) = re.findall(r"stopped and saved; to go on: .* --resume (\S+)", several[2]["err"])
    monkeypatch.chdir(several[2]["folder"])
    capsys.readouterr()
    assert train.main(["--resume", hint]) == 0
    captured = capsys.readouterr()
    assert f"after step {train.ASK_EVERY}\n" in captured.out
    assert "processes: 1, and the run began with 2" in captured.err
    stopped = load_weights("stopped.pth")[0].state_dict()
    torch.testing.assert_close(stopped, twenty_steps, rtol=0, atol=2e-5)


def test_a_process_that_cannot_go_on_says_why_in_one_line(several):
    errors = [line for line in several[2]["err"].splitlines() if line.startswith("error: ")]
    assert errors.count("error: rank 1: its disk is gone") == 1
    # torchrun ends the other process at once, perhaps before that has noticed and said so.
    lost = "error: rank 0 has lost the other processes: one has ended, or did not answer"
    assert errors.count(lost) == len(errors) - 1 <= 1
    assert "[rank" not in several[2]["err"]  # how torch begins the lines of a traceback


def test_what_all_processes_find_wrong_is_said_once(several):
    errors = [line for line in several[3]["err"].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "--optimizer sdlm learns one pattern after the other" in errors[0]


def test_what_cannot_be_shared_out_is_refused(monkeypatch):
    settings = Settings(**RECIPES["teacher"])
    train.check_shareable(settings)
    place(monkeypatch, 0, 2)
    with pytest.raises(UserError, match="teacher"):
        train.check_shareable(settings)


def processes_below(pid):
    """The ids of a process's children by their rank."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        for entry in environment:
            if entry.startswith(b"RANK="):
                found[int(entry[5:])] = int(child)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the processes are found in /proc")
def test_a_process_that_dies_ends_the_job_and_another_number_goes_on(pictures, capsys):  # noqa: F811
    flags = ["--dataset", "pictures", "--batch-size", "50", "--epochs", "2", "--device", "cpu"]
    process = torchrun(2, "train.py", *flags, cwd=pictures.parent)
    wait_for(lambda: list(Path("runs").glob("*/metrics.csv")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    os.kill(processes_below(process.pid)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    (folder,) = Path("runs").iterdir()
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert line.startswith("error: rank 0 has lost the other processes")
    assert line.endswith(f"to go on: python train.py --resume {folder}")
    assert "[rank" not in err
    assert train.main(["--resume", folder.name]) == 0
    assert "processes: 1, and the run began with 2" in capsys.readouterr().err
    with open(folder / "metrics.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_a_run_from_before_there_were_several_goes_on(workdir, monkeypatch, capsys):
    settings, data = Settings(), SimpleNamespace(md5=None)
    config = json.loads(run_folder.config_json(settings, torch.device("cpu"), data))
    assert config.pop("processes") == 1
    Path("config.json").write_text(json.dumps(config))
    for count in (1, 2):
        place(monkeypatch, 0, count)
        run_folder.compare_conditions(settings, Path(), torch.device("cpu"), data)
        assert bool(capsys.readouterr().err) == (count == 2)


# ------------------------------------------------------------ inference.py


def test_pictures_are_shared_out_and_give_one_file(several, workdir, capsys):
    states = [found["reading"] for found in several[2]["states"]]
    assert [found["status"] for found in states] == [1, 0]  # one picture is missing; the job's is 1
    names = [f"digit_{digit}.png" for digit in range(10)]
    assert states[0]["names"] == [*names[0:2], *names[4:6], names[8]]
    assert states[1]["names"] == [*names[2:4], *names[6:8], names[9], "missing.png"]
    assert inference.main([*together.READING, "--output", "read.jsonl"]) == 1
    total = "10 read, 10 of 10 right (100.00 %), 1 could not be read"
    assert total in capsys.readouterr().out
    assert several[2]["out"].count(total) == 2  # and below the table
    one, two = (
        [json.loads(line) for line in (folder / "read.jsonl").read_text().splitlines()]
        for folder in (workdir, several[2]["folder"])
    )
    assert_same_readings(two, one)


def test_results_on_stdout_are_those_of_one_process(several, workdir, capsys):
    assert inference.main(together.READING) == 1
    percent = re.compile(r" *[\d.]+ %")  # its last digit depends on what was read together
    table = percent.sub("", capsys.readouterr().out)
    assert table in percent.sub("", several[2]["out"])


# ------------------------------------------------------------ how it begins


@pytest.mark.parametrize("size", ["2", "two"])
def test_an_environment_that_is_not_torchruns_is_one_line(workdir, monkeypatch, capsys, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    for main in (inference.main, train.main):
        assert main([]) == 2
        err = capsys.readouterr().err
        assert_one_error_line(err, "WORLD_SIZE", "torchrun")
        assert len(err.splitlines()) == 1


def test_a_device_for_each_process(monkeypatch):
    cpu, cuda, mps = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))
    assert distributed.own_device(mps) == mps
    place(monkeypatch, 1, 2)
    assert distributed.own_device(cpu) == cpu
    with pytest.raises(UserError, match="cannot share the mps device"):
        distributed.own_device(mps)
    chosen: list[int] = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="more processes than the 1 GPUs"):
        distributed.own_device(cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.own_device(cuda) == cuda
    assert chosen == [1]
