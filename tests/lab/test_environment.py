"""What is recorded of the machine: enough to judge a number, nothing that tells whose it is."""

import getpass
import json
import os
import platform
import subprocess

import pytest

from tenfold.lab import environment
from tenfold.lab.environment import commit, cores


def test_machine_cores_memory_and_versions_are_recorded():
    found = environment.environment(1)
    assert set(found) == {
        "machine", "cores", "memory_gb", "system", "python", "versions", "threads",
    }  # fmt: skip
    assert (found["cores"], found["threads"], found["python"]) == (
        cores(), 1, platform.python_version(),
    )  # fmt: skip
    assert found["memory_gb"] > 0
    assert {"tenfold", "jax", "jaxlib", "equinox", "numpy"} <= set(found["versions"])
    assert platform.machine() in found["machine"]


def test_neither_host_nor_user_nor_path_is_recorded(monkeypatch):
    """Told by names that cannot be there by chance."""
    monkeypatch.setattr(platform, "node", lambda: "host-of-a-person")
    monkeypatch.setattr("socket.gethostname", lambda: "host-of-a-person")
    for name in ("USER", "LOGNAME", "HOSTNAME", "HOME"):
        monkeypatch.setenv(name, "/home/somebody")
    text = json.dumps(environment.environment(2))
    for secret in ("host-of-a-person", "somebody", os.getcwd(), os.path.expanduser("~")):
        assert secret not in text
    real = {platform.uname().node, os.uname().nodename} - {"localhost", ""}
    assert not any(name in text for name in real)
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in text


def test_a_machine_that_tells_little_is_recorded_all_the_same(monkeypatch):
    """No /proc, no memory size, no affinity, packages of which no version is known."""

    def absent(*_, **__):
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", absent)
    monkeypatch.setattr(os, "sysconf", absent)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: (_ for _ in ()).throw(AttributeError))
    monkeypatch.setattr(environment, "_PACKAGES", ["no-such-package"])
    monkeypatch.setattr(platform, "processor", lambda: "")
    found = environment.environment(None)
    assert found["machine"] == f"{platform.machine()}, unknown processor"
    assert (found["memory_gb"], found["versions"]) == (None, {})
    assert found["cores"] == os.cpu_count()


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.CalledProcessError(128, "git"),
              subprocess.TimeoutExpired("git", 5)],
)  # fmt: skip
def test_without_git_there_is_no_commit(monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(subprocess, "run", fails)
    assert commit() is None


def test_an_installed_package_does_not_take_the_commit_of_the_folder_around_it(
    monkeypatch, tmp_path
):
    """A virtual environment inside somebody's repository is not that repository."""
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "site-packages" / "x" / "e.py"))
    done = subprocess.CompletedProcess([], 0, stdout="abc1234\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert commit() is None
