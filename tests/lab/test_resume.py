"""A run that was killed goes on, and ends with the very numbers of an unbroken one."""

import json
import signal
import time

import pytest

pytestmark = pytest.mark.slow
STEPS = ("--steps", "60", "--checkpoint-seconds", "0", "--workers", "2")


def run_folder(out):
    (folder,) = [path.parent for path in out.glob("tiny/*/config.json")]
    return folder


def metrics(folder):
    """Every finished unit's metrics, to the bit (JSON keeps every bit of a float)."""
    files = sorted((folder / "results").glob("*.json"))
    return {file.name: json.loads(file.read_text())["metrics"] for file in files}


def wait_for_a_checkpoint(out, process):
    """Until a training has saved a step, and is not yet done."""
    for _ in range(600):
        if any(path.name.isdigit() for path in out.glob("tiny/*/checkpoints/train-*/*")):
            return
        assert process.poll() is None, "the run ended before a checkpoint was seen"
        time.sleep(0.1)
    raise AssertionError("no checkpoint within a minute")


@pytest.fixture(scope="module")
def unbroken_metrics():
    """Filled by the first test that needs it: the metrics of a run that nobody disturbed."""
    return {}


def unbroken(shell, store):
    if not store:
        assert shell("run", "tiny", "small", "--out", "whole", *STEPS).code == 0
        store.update(metrics(run_folder(shell.cwd / "whole")))
    return store


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_broken_run_resumes_to_the_same_bits(shell, unbroken_metrics, how):
    """Killed in the middle of a training; Ctrl-C also says how to go on, and exits with 130."""
    expected = unbroken(shell, unbroken_metrics)
    out = shell.cwd / "broken"
    process = shell.start("run", "tiny", "small", "--out", "broken", *STEPS, TINYLAB_PAUSE="0.1")
    wait_for_a_checkpoint(out, process)
    process.send_signal(how)
    said, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    folder = run_folder(out)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert f"tenfold resume {folder.relative_to(shell.cwd)}" in said + err
    time.sleep(1)  # the workers notice that their parent is gone
    assert metrics(folder) != expected, "nothing was left to resume"
    again = shell("resume", str(folder))
    assert again.code == 0, again.err
    assert metrics(folder) == expected


def test_the_same_run_again_computes_nothing(shell):
    """Results stay untouched, and more seeds are added to those that are there."""
    words = ("run", "tiny", "smoke", "--out", "runs")
    assert shell(*words, "--seeds", "1").code == 0
    folder = run_folder(shell.cwd / "runs")
    before = {file.name: file.stat().st_mtime_ns for file in (folder / "results").iterdir()}
    assert shell(*words, "--seeds", "2").code == 0
    after = {file.name: file.stat().st_mtime_ns for file in (folder / "results").iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == 2 * len(before)


def test_a_damaged_checkpoint_costs_time_and_no_result(shell, unbroken_metrics):
    """Every file of the newest checkpoint is cut short; the same bits are reached all the same."""
    expected = unbroken(shell, unbroken_metrics)
    out = shell.cwd / "torn"
    process = shell.start("run", "tiny", "small", "--out", "torn", *STEPS, TINYLAB_PAUSE="0.1")
    wait_for_a_checkpoint(out, process)
    process.kill()
    process.communicate(timeout=60)
    time.sleep(1)
    folder = run_folder(out)
    for steps in (folder / "checkpoints").iterdir():
        numbers = sorted(
            (p for p in steps.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
        )
        for file in (f for f in numbers[-1].rglob("*") if f.is_file()) if numbers else ():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = shell("resume", str(folder))
    assert again.code == 0, again.err
    assert metrics(folder) == expected
