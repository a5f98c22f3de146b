"""A stranger's package with a study, and the command `tenfold` in this process and in others."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TINY = Path(__file__).with_name("tiny_study.py")


@pytest.fixture(autouse=True)
def sigint():
    """Python's own handler, also where a shell started the tests in its background and so deaf to
    Ctrl-C; and again after a command that, interrupted, ended deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def site(tmp_path):
    """A folder with the package `tinylab` as pip would leave it: code and an entry point."""
    folder = tmp_path / "site"
    (folder / "tinylab").mkdir(parents=True)
    shutil.copy(TINY, folder / "tinylab" / "__init__.py")
    info = folder / "tinylab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinylab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tenfold.studies]\ntiny = tinylab:STUDY\n")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One compile cache for all processes that the tests start, and not the user's."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def tiny(site, cache, monkeypatch):
    """The study `tiny`, found through its entry point by this process and by its workers."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("TENFOLD_CACHE", str(cache))
    from tenfold.lab import registry

    yield registry.load("tiny")
    for name in [name for name in sys.modules if name.split(".")[0] == "tinylab"]:
        del sys.modules[name]


@dataclass
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """Standard error, which must be one line and no traceback."""
        assert self.err.startswith("tenfold: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """`command(*words)` runs `tenfold` in this process, in an empty folder."""
    from tenfold.lab import cli

    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Said(int(stop.value.code or 0), captured.out, captured.err)

    return run


@dataclass
class Shell:
    """Starts `tenfold` in a process of its own, with the site folder on its path."""

    site: Path
    cwd: Path
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "tenfold.lab.cli", *map(str, words)],
            cwd=self.cwd,
            env=os.environ | {"PYTHONPATH": str(self.site), "COLUMNS": "200"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def __call__(self, *words: str, **environment: str) -> Said:
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=400)
        assert "Traceback" not in err, err
        return Said(process.returncode, out, err)


@pytest.fixture
def shell(site, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_CACHE", str(cache))
    made = Shell(site, tmp_path)
    yield made
    for process in made.started:  # of a test that failed
        process.kill()
        process.communicate()
