"""One arm stays with one worker, so that it is compiled once; whoever is free helps."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tenfold.lab.pool import Pool, Schedule, Worker, _death, _sigint_held_back


def units(**arms):
    return [(arm, seed) for arm, seeds in arms.items() for seed in range(seeds)]


def test_every_unit_is_handed_out_once():
    todo = units(a=3, b=2, c=1)
    schedule = Schedule(todo)
    handed = [schedule.next(number % 2) for number in range(6)]
    assert sorted(handed) == sorted(todo)
    assert not schedule.waiting
    assert schedule.next(0) is None


def test_a_worker_keeps_to_its_arm():
    schedule = Schedule(units(a=3, b=3))
    first = [schedule.next(0), schedule.next(1), schedule.next(1), schedule.next(0)]
    assert first == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_a_free_worker_takes_an_arm_that_nobody_has():
    schedule = Schedule(units(a=5, b=1, c=1))
    assert [schedule.next(0), schedule.next(1)] == [("a", 0), ("b", 0)]
    assert schedule.next(1) == ("c", 0)


def test_a_free_worker_helps_with_the_longest_arm_at_the_end():
    schedule = Schedule(units(a=2, b=5, c=1))
    for worker in (0, 1, 2):
        schedule.next(worker)
    assert schedule.next(2) == ("b", 1)
    assert schedule.next(1) == ("b", 2)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_no_worker_waits_while_there_is_work(workers):
    schedule = Schedule(units(a=4, b=1))
    handed = [schedule.next(number % workers) for number in range(5)]
    assert None not in handed


def test_nothing_is_handed_out_after_a_cancel():
    schedule = Schedule(units(a=3))
    schedule.next(0)
    schedule.cancel()
    assert schedule.next(0) is None
    assert not schedule.waiting


# ---- Processes --------------------------------------------------------------------------------
def worker(code):
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)
    return Worker(0, process, Path("log"))


def test_a_worker_that_does_not_end_is_killed():
    """And waited for: it leaves no zombie."""
    stubborn = worker("import time; time.sleep(60)")
    assert stubborn.alive
    stubborn.dismiss()
    stubborn.end(0.05)
    assert stubborn.process.returncode == -signal.SIGKILL


def test_a_dead_worker_can_be_spoken_to():
    """What it never read is no error here; its reader tells that it died."""
    dead = worker("")
    dead.process.wait()
    assert not dead.alive
    dead.give({"arm": "a", "pad": "x" * 100_000})
    dead.interrupt()
    dead.dismiss()
    dead.end(0.0)
    assert dead.busy == {"arm": "a", "pad": "x" * 100_000}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (7, "its worker ended by itself, with exit code 7"),
        (0, "its worker ended by itself, with exit code 0"),
        (-9, "its worker died of signal 9, Killed (out of memory?)"),
        (-11, "its worker died of signal 11, Segmentation fault"),
    ],
)
def test_how_a_worker_died_is_told(code, says):
    assert _death(code) == says


WAITS = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("heard"))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
time.sleep(0.1)
"""


def test_a_ctrl_c_that_comes_too_early_waits_for_the_worker():
    """Sent before Python has even started there; our own handler is as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    with _sigint_held_back():
        child = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[0] == "heard\n"
    assert child.returncode == 0


def test_workers_that_are_not_needed_end_at_once(tmp_path):
    """Without a unit measured, and leaving nothing but their logs."""
    with Pool(1, threads=1, log_folder=tmp_path) as pool:
        assert list(pool.run(tmp_path, Schedule([]), {})) == []
        start = time.monotonic()
    assert [worker.process.returncode for worker in pool.workers] == [0]
    assert time.monotonic() - start < 20
    assert [path.name for path in tmp_path.iterdir()] == [".worker-0.log"]
