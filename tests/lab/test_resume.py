"""A run that was cut off goes on, and ends with the very numbers of an unbroken one."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest

from tenfold.lab import engine, registry
from tenfold.lab.engine import Options, prepare
from tenfold.lab.files import read_jsonl
from tenfold.lab.pool import Pool, Schedule

slow = pytest.mark.slow
STEPS = ("--steps", "60", "--checkpoint-seconds", "0", "--workers", "2")


def run_folder(out):
    (folder,) = [path.parent for path in out.glob("tiny/*/config.json")]
    return folder


def metrics(folder):
    """Every finished unit's metrics, to the bit (JSON keeps every bit of a float)."""
    files = sorted((folder / "results").glob("*.json"))
    return {file.name: json.loads(file.read_text())["metrics"] for file in files}


def states(folder):
    units = json.loads((folder / "status.json").read_text())["units"]
    return [unit["state"] for unit in units.values()]


def saved(folder):
    """The folder of the newest checkpoint of each training."""
    return saved_below(folder.parents[1])


def saved_below(out):
    steps = [path for path in out.glob("*/*/checkpoints/*/*") if path.name.isdigit()]
    return {path.parent: path for path in sorted(steps, key=lambda path: int(path.name))}.values()


def wait_for(condition, process):
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, f"the run ended too early: {process.communicate()}"
        time.sleep(0.05)
    raise AssertionError("nothing happened within a minute")


def ended(pid):
    """Whether the process is gone (or waits to be reaped)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def workers_of(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


@pytest.fixture
def cut(shell):
    """`cut(how)`: a run that got a signal while both workers trained, and was given up."""

    def start(how):
        process = shell.start("run", "tiny", "small", *STEPS, TINYLAB_PAUSE="0.05")
        out = shell.cwd / "runs"
        wait_for(lambda: len(saved_below(out)) == 2, process)
        pids = workers_of(process)
        assert len(pids) == 2
        process.send_signal(how)
        said, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        for _ in range(200):
            if all(map(ended, pids)):
                break
            time.sleep(0.05)
        assert all(map(ended, pids)), "a worker outlived the command"
        return process.returncode, said, run_folder(out)

    return start


@pytest.fixture(scope="module")
def known():
    """Filled by the first test that needs it: the metrics of a run that nobody disturbed."""
    return {}


@pytest.fixture
def unbroken(shell, known):
    if not known:
        assert shell("run", "tiny", "small", "--out", "whole", *STEPS).code == 0
        known.update(metrics(run_folder(shell.cwd / "whole")))
    return known


@slow
def test_after_kill_9_the_workers_end_and_the_same_bits_are_reached(shell, unbroken, cut):
    """Also when the last record was torn. What a checkpoint holds is not done twice."""
    code, _, folder = cut(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert metrics(folder).keys() < unbroken.keys()
    steps = {path.parent.name: int(path.name) for path in saved(folder)}
    records = folder / "metrics.jsonl"
    with records.open("a") as file:
        file.write('{"arm": "train", "seed": 0, "st')
    again = shell("resume", str(folder), "--checkpoint-seconds", "9")
    assert (again.code, again.err) == (0, "")
    assert metrics(folder) == unbroken
    seen = [(f"{r['arm']}-{r['seed']}", r["step"]) for r in read_jsonl(records)]
    for unit, step in steps.items():
        # What was recorded after the last checkpoint is done, and recorded, again.
        before = [s for u, s in seen if u == unit and s <= step]
        assert len(before) == len(set(before))
        assert step > 0


@slow
def test_after_ctrl_c_everything_is_saved_and_the_way_on_is_told(shell, unbroken, cut):
    code, said, folder = cut(signal.SIGINT)
    assert code == 130
    assert (
        said.splitlines()[-1]
        == f"interrupted; go on with: tenfold resume {folder.relative_to(shell.cwd)}"
    )
    assert "stopping; trainings save first" in said
    assert said.count(": interrupted, kept at step ") == 2
    assert set(states(folder)) <= {"done", "pending"}
    again = shell("resume", str(folder))
    assert (again.code, again.err) == (0, "")
    assert metrics(folder) == unbroken


@slow
def test_a_damaged_checkpoint_costs_time_and_no_result(shell, unbroken, cut):
    """Every file of the newest checkpoints is cut short: it is told, and the ones before serve."""
    _, _, folder = cut(signal.SIGKILL)
    newest = list(saved(folder))
    for step in newest:
        for file in (file for file in step.rglob("*") if file.is_file()):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = shell("resume", str(folder))
    assert (again.code, again.err) == (0, "")
    assert again.out.count("; going on from step ") == len(newest) == 2
    assert metrics(folder) == unbroken


@slow
@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_before_the_workers_are_ready_loses_nothing(shell, presses):
    """Python is still starting in them: none dies with a traceback, no unit counts as failed.
    Three times Ctrl-C kills."""
    process = shell.start("run", "tiny", "small", *STEPS)
    assert process.stdout.readline().endswith("9 units (arm x seed)\n")
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    said, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    folder = run_folder(shell.cwd / "runs")
    assert said.splitlines()[-1].startswith("interrupted; go on with: tenfold resume runs/tiny/")
    assert "FAILED" not in said
    assert set(states(folder)) == {"pending"}
    assert "Traceback" not in "".join(file.read_text() for file in folder.glob(".worker-*.log"))


@slow
def test_a_reader_who_leaves_early_takes_the_workers_along(shell):
    """`tenfold run ... | head -1`."""
    process = shell.start("run", "tiny", "small", *STEPS, TINYLAB_PAUSE="0.05")
    process.stdout.readline()
    out = shell.cwd / "runs"
    wait_for(lambda: saved_below(out), process)
    pids = workers_of(process)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(timeout=60)
    assert all(map(ended, pids))


# ---- What cannot be gone on with --------------------------------------------------------------
@pytest.fixture
def begun(tiny, tmp_path):
    """A run of which nothing is measured yet."""
    config = tiny.presets["small"].config
    return prepare(tiny, "small", config, [0, 1], tmp_path / "runs", "", options=Options())


def truncated(directory):
    file = directory.path / "config.json"
    file.write_text(file.read_text()[:100])


def edited(directory):
    header = directory.header()
    directory.write_header(header | {"config": header["config"] | {"rate": 9.0}})


def of_another_study(directory):
    directory.write_header(directory.header() | {"study": "tinny"})


def headless(directory):
    (directory.path / "config.json").unlink()


def with_a_torn_result(directory):
    directory.write_result("train", 0, {"value": 1.0}, 1.0)
    file = directory.result_file("train", 0)
    file.write_text(file.read_text()[:20])


def with_a_strange_result(directory):
    directory.write_result("train", 0, {}, 1.0)
    directory.result_file("train", 0).write_text("[]")


@pytest.mark.parametrize(
    ("harm", "code", "says"),
    [
        (truncated, 1, "config.json is not valid JSON"),
        (edited, 1, "config.json was edited"),
        (of_another_study, 2, "unknown study 'tinny'; did you mean 'tiny'?"),
        (headless, 1, "holds no run: config.json is missing"),
        (with_a_torn_result, 1, "results/train-0.json is not valid JSON"),
        (with_a_strange_result, 1, "delete it to measure that unit again"),
    ],
)
def test_a_run_that_somebody_edited_is_refused_with_one_line(command, begun, harm, code, says):
    """Before any worker starts, and with nothing overwritten."""
    harm(begun)
    before = {file: file.read_bytes() for file in begun.path.rglob("*.json")}
    said = command("resume", begun.path)
    assert (said.code, said.out) == (code, "")
    assert says in said.line
    assert {file: file.read_bytes() for file in begun.path.rglob("*.json")} == before


def test_a_run_that_another_process_works_on_is_refused_with_one_line(command, begun):
    with engine._locked(begun.path):
        for words in (["resume", begun.path], ["run", "tiny", "--seeds", "7"]):
            said = command(*words)
            assert said.code == 1
            assert "another tenfold process is working on" in said.line
    assert begun.header()["seeds"] == [0, 1]


# ---- The taylor study -------------------------------------------------------------------------
UNITS = [("R_2", 1)]


@pytest.fixture
def taylor_run(cache, tmp_path, monkeypatch):
    """`taylor_run(name)`: the directory of a small config, at one seed of an arm that trains."""
    monkeypatch.setenv("TENFOLD_CACHE", str(cache))
    study = registry.load("taylor")
    config = replace(study.presets["smoke"].config, train_size=100, batch=20, steps=60, hidden=10,
                     tested=2, matrix=1)  # fmt: skip

    def make(name):
        return prepare(study, "smoke", config, [1], tmp_path / name, "", options=Options(workers=2))

    return make


def measured(directory, *, kill=False):
    """Measures the units with one worker, which is killed once the training has begun."""
    events = []
    with Pool(1, threads=1, log_folder=directory.path) as pool:
        for event in pool.run(directory.path, Schedule(UNITS), {"checkpoint_seconds": 0}):
            events.append(event)
            if kill and event["event"] == "progress":
                os.kill(pool.workers[0].process.pid, signal.SIGKILL)
    return [event["event"] for event in events if event["event"] in ("done", "failed")]


@slow
def test_an_arm_of_the_taylor_study_resumes_to_the_same_bits(taylor_run):
    """Killed in the middle of its training; evaluations of test images are counted afresh."""
    whole, broken = taylor_run("whole"), taylor_run("broken")
    assert measured(whole) == ["done"]
    assert measured(broken, kill=True) == ["failed"]
    assert not metrics(broken.path)
    for folder in saved(broken.path):
        assert 0 < int(folder.name) < 60
    assert measured(broken) == ["done"]
    assert metrics(broken.path) == metrics(whole.path)
