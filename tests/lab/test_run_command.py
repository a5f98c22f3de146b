"""`tenfold run` with real workers: a study that behaves, and what goes wrong around it."""

import errno
import json
import os
import subprocess

import pytest

from tenfold.lab import pool, registry
from tenfold.lab.files import FileError
from tenfold.lab.rundir import RunDirectory

pytestmark = pytest.mark.slow
QUICK = ("--steps", "3", "--workers", "1")


@pytest.fixture
def children(tiny, monkeypatch):
    """The workers that the command started; none may outlive it."""
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            if "tenfold.lab.worker" in self.args:
                started.append(self)

    monkeypatch.setattr(pool.subprocess, "Popen", Noted)
    yield started
    assert [child.args for child in started if child.poll() is None] == []


@pytest.fixture
def run(command, children, tmp_path):
    """`run(...)`: how `tenfold run tiny small ...` ended, and its directory."""

    def tenfold_run(*words):
        said = command("run", "tiny", "small", *QUICK, *words)
        files = sorted(tmp_path.glob("runs/tiny/*/config.json"), key=lambda f: f.stat().st_mtime)
        return said, RunDirectory(files[-1].parent) if files else None

    return tenfold_run


def status(directory):
    return json.loads((directory.path / "status.json").read_text())


def states(directory):
    return {name: unit["state"] for name, unit in status(directory)["units"].items()}


def log(directory):
    return (directory.path / ".worker-0.log").read_text()


def test_a_run_leaves_all_that_is_promised(run, site, tmp_path):
    """And in none of it a path of this machine."""
    said, directory = run("--seeds", "2")
    assert (said.code, said.err) == (0, "")
    names = {file.relative_to(directory.path).as_posix() for file in directory.path.rglob("*")}
    assert names >= {"config.json", "status.json", "metrics.jsonl", "claims.json", "report.html",
                     "figures/figures.json", ".lock", ".worker-0.log"}  # fmt: skip
    units = {f"{arm}-{seed}" for arm in ("train", "fragile", "fixed") for seed in (0, 1)}
    assert {name.removeprefix("results/") for name in names if name.startswith("results/")} == {
        f"{unit}.json" for unit in units
    }
    assert {"checkpoints/train-0/3", "checkpoints/train-1/3"} <= names
    assert status(directory)["state"] == "done"
    assert states(directory) == dict.fromkeys(units, "done")
    assert directory.header()["command"] == "tenfold run tiny small --steps 3 --workers 1 --seeds 2"
    assert directory.header()["overrides"] == {"steps": 3}
    for name in ("config.json", "status.json", "claims.json", "report.html"):
        text = (directory.path / name).read_text()
        assert not [secret for secret in (str(site), str(tmp_path), os.uname().nodename)
                    if secret in text]  # fmt: skip


def test_again_it_computes_nothing_and_more_seeds_are_added(run, children):
    _, directory = run("--seeds", "1")
    before = {file: file.stat().st_mtime_ns for file in directory.path.rglob("results/*")}
    children.clear()
    assert run("--seeds", "1")[0].code == 0
    assert children == []
    assert run("--seeds", "2")[0].code == 0
    after = {file: file.stat().st_mtime_ns for file in directory.path.rglob("results/*")}
    assert {file: after[file] for file in before} == before
    assert (len(before), len(after), len(children)) == (3, 6, 1)


TROUBLES = {
    "error": "ValueError: the arm broke",
    "diverge": "loss became non-finite at step ",
    "die": "its worker ended by itself, with exit code 7; see runs/tiny/",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_unit_that_fails_leaves_the_others_alone(run, trouble):
    """One line says which and why; its traceback is in the log. Running again tries it again."""
    said, directory = run("--seeds", "2", "--trouble", trouble)
    assert (said.code, said.err) == (1, "")
    failures = [line for line in said.out.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 1
    assert failures[0].startswith(f"failed: fragile-1: {TROUBLES[trouble]}")
    assert f"fragile seed 1: FAILED: {TROUBLES[trouble]}" in said.out
    assert status(directory)["state"] == "failed"
    assert [name for name, state in states(directory).items() if state != "done"] == ["fragile-1"]
    assert ("Traceback" in log(directory)) is (trouble != "die")
    if trouble == "die":
        again = run("--seeds", "2", "--trouble", trouble)[0]
        assert "6 units (arm x seed), 5 of them finished before" in again.out
        assert again.code == 1


def test_what_a_study_prints_goes_to_the_log_and_a_nan_to_the_verdict(run):
    """Neither disturbs the run."""
    said, directory = run("--seeds", "2", "--trouble", "print")
    assert (said.code, said.err) == (0, "")
    assert "may print" not in said.out
    assert "a study may print what it likes {" in log(directory)
    said, directory = run("--seeds", "3", "--trouble", "nan")
    assert (said.code, said.err) == (0, "")
    claims = json.loads((directory.path / "claims.json").read_text())["claims"]
    assert (claims[0]["outcome"], claims[0]["note"]) == (
        "unclear",
        "a measured value is not finite",
    )


def test_a_sabotage_turns_the_claim_that_names_it(run, command):
    """In a directory of its own, which `tenfold report` passes over."""
    said, directory = run("--sabotage", "switched-off")
    assert said.code == 0
    claims = json.loads((directory.path / "claims.json").read_text())["claims"]
    assert [claim["outcome"] for claim in claims] == ["fails"]
    assert command("report").line == (
        "tenfold: there is no finished run below runs; try: tenfold run all"
    )
    assert command("report", directory.path).code == 0


def test_after_a_change_of_the_source_run_and_resume_ask(run, command, site):
    _, directory = run("--seeds", "1")
    with (site / "tinylab" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    said = run("--seeds", "1")[0]
    assert said.code == 1
    assert said.line.endswith(
        "--fresh sets it aside and starts over, --keep goes on with what is there"
    )
    said = command("resume", directory.path)
    assert said.code == 1
    assert "--keep goes on all the same" in said.line
    assert command("resume", directory.path, "--keep").code == 0
    said, fresh = run("--seeds", "1", "--fresh")
    assert (said.code, fresh.path) == (0, directory.path)
    assert "finished before" not in said.out
    assert directory.path.with_name(f"{directory.path.name}.old1").is_dir()


def test_all_runs_every_study_into_one_page(command, children, monkeypatch, tmp_path):
    """Each with a command of its own in its header."""
    monkeypatch.setattr(registry, "names", lambda: ["tiny"])
    said = command("run", "all", "smoke", "--workers", "1", "--seeds", "2")
    assert said.code == 0
    assert "report: runs/report.html" in said.out
    assert (tmp_path / "runs" / "report.html").exists()
    (path,) = (tmp_path / "runs" / "tiny").iterdir()
    assert RunDirectory(path).header()["command"] == (
        "tenfold run tiny smoke --workers 1 --seeds 2"
    )


# ---- Disks ------------------------------------------------------------------------------------
FULL = """
import builtins, errno, os

word, opened, replaced = os.environ["TINYLAB_FULL"], builtins.open, os.replace

def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

builtins.open = lambda file, *a, **b: full() if word in str(file) else opened(file, *a, **b)
os.replace = lambda a, b: full() if word in str(b) else replaced(a, b)
"""


@pytest.mark.parametrize("what", ["metrics.jsonl", "results/train-1"])
def test_a_disk_that_fills_up_beneath_a_worker_fails_that_unit(run, site, monkeypatch, what):
    """With one line that names the file; what was measured before stays, and room mends it."""
    monkeypatch.setenv("TINYLAB_FULL", what)
    (site / "sitecustomize.py").write_text(FULL)
    said, directory = run("--seeds", "2")
    (site / "sitecustomize.py").unlink()
    assert (said.code, said.err) == (1, "")
    failures = [line for line in said.out.splitlines() if line.startswith("failed: train-1: ")]
    assert len(failures) == 1
    assert what in failures[0]
    assert failures[0].endswith(": No space left on device")
    assert states(directory)["fragile-1"] == "done"
    assert run("--seeds", "2")[0].code == 0
    assert set(states(directory).values()) == {"done"}


def test_a_disk_that_fills_up_beneath_the_command_ends_it(run, children, monkeypatch):
    """With one line, once its workers have ended; results that they wrote are kept."""
    writes, write = [], RunDirectory.write_status

    def full(self, state, units):
        writes.append(state)
        if len(writes) == 6:
            raise FileError(f"cannot write {self.path / 'status.json'}: No space left on device")
        write(self, state, units)

    monkeypatch.setattr(RunDirectory, "write_status", full)
    said, directory = run("--seeds", "1")
    assert said.code == 1
    assert said.line.endswith("status.json: No space left on device")
    assert [child.poll() for child in children] == [0]
    finished = [file.name for file in directory.path.glob("results/*")]
    assert finished
    assert run("--seeds", "1")[0].code == 0


def test_where_nothing_can_be_written_nothing_is_begun(run, children, tmp_path):
    (tmp_path / "file").write_text("")
    said, _ = run("--out", tmp_path / "file" / "runs")
    assert said.code == 1
    assert said.line.startswith(f"tenfold: cannot write {tmp_path}/file/runs/tiny/small-")
    assert said.line.endswith(f": {os.strerror(errno.ENOTDIR)}")
    assert children == []


# ---- TensorBoard ------------------------------------------------------------------------------
TENSORBOARD = """
import json

class SummaryWriter:
    def __init__(self, folder):
        self._scalars, self._folder = [], folder

    def add_scalar(self, tag, value, step):
        self._scalars.append((tag, step))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with open(self._folder + ".json", "a") as file:
            file.write(json.dumps(self._scalars) + "\\n")
"""


def test_records_go_to_tensorboard_where_it_is_wanted(run, site, monkeypatch):
    """A writer a unit, closed when the unit ends. Without the package one line says what to do."""
    monkeypatch.setenv("TENFOLD_TRACK", "1")
    (site / "tensorboardX.py").write_text("raise ModuleNotFoundError('no', name='tensorboardX')")
    said, _ = run("--seeds", "1")
    says = "TENFOLD_TRACK needs tensorboardX: pip install 'tenfold[track]'"
    assert f"failed: train-0: {says}" in said.out
    (site / "tensorboardX.py").write_text(TENSORBOARD)
    said, directory = run("--seeds", "1")
    assert said.code == 0
    written = (directory.path / "tensorboard.json").read_text().splitlines()
    assert sorted(map(json.loads, written)) == [[], [], [["train-0/loss", 3]]]
