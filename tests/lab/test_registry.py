"""Studies are found by name, here and in other packages, before any is imported."""

import shutil
import subprocess
import sys

import pytest

from tenfold.lab import registry
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import source_digest


def run(code, *options):
    """What a fresh interpreter prints."""
    words = [sys.executable, *options, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)


def test_a_study_of_another_package_is_found_by_its_entry_point(tiny):
    assert "tiny" in registry.names()
    assert registry.names().index("taylor") < registry.names().index("tiny")
    assert tiny.name == "tiny"
    assert registry.module_of("tiny") == "tinylab"


def test_names_are_known_without_importing_a_study(tiny):
    del tiny
    sys.modules.pop("tinylab")
    assert "tiny" in registry.names()
    assert "tinylab" not in sys.modules


@pytest.mark.parametrize("typed", ["tailor", "taylr", "Taylor"])
def test_an_unknown_study_gets_the_nearest_right_name(typed):
    with pytest.raises(UnknownName, match=f"unknown study '{typed}'; did you mean 'taylor'"):
        registry.load(typed)


def test_a_name_near_nothing_gets_all_known_ones():
    with pytest.raises(UnknownName, match=r"unknown study 'zzz'; known: .*sde.*taylor"):
        registry.load("zzz")


def test_a_stranger_cannot_take_the_name_of_one_of_tenfolds_studies(site, monkeypatch):
    """A package that calls its study `taylor` does not replace tenfold's own."""
    points = site / "tinylab-1.0.dist-info" / "entry_points.txt"
    points.write_text("[tenfold.studies]\ntaylor = tinylab:STUDY\n")
    monkeypatch.syspath_prepend(str(site))
    assert registry.names().count("taylor") == 1
    assert registry.module_of("taylor") == "tenfold.lab.studies.taylor"


def test_the_digest_sees_a_change_in_a_strangers_study(tiny, site):
    del tiny
    before = source_digest("tiny")
    assert source_digest("tiny") == before
    with (site / "tinylab" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    assert source_digest("tiny") != before


def test_the_digest_sees_a_change_in_the_private_modules_of_a_study(tmp_path, monkeypatch):
    """`_taylor_costs.py` holds numbers of the study `taylor`, and nothing of the others."""
    from tenfold.lab import studies

    folder = tmp_path / "studies"
    shutil.copytree(studies.__path__[0], folder, ignore=shutil.ignore_patterns("__pycache__"))
    original = source_digest("taylor")
    spec = type("Spec", (), {"origin": str(folder / "taylor.py")})
    monkeypatch.setattr("tenfold.lab.rundir.find_spec", lambda name: spec)
    assert source_digest("taylor") == original
    (folder / "_stein_costs.py").write_text("of another study")
    assert source_digest("taylor") == original
    (folder / "_taylor_new.py").write_text("a helper")
    assert source_digest("taylor") != original


def test_importing_tenfold_imports_no_jax():
    """Also not through the lab's front door, which `list` and `--help` open."""
    code = (
        "import sys, tenfold, tenfold.lab, tenfold.lab.registry as r; r.names(); "
        "print('jax' in sys.modules)"
    )
    assert run(code).stdout.strip() == "False"
    assert "jax" not in run("import tenfold", "-X", "importtime").stderr
