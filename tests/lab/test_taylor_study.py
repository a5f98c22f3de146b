"""The study of Taylor mode: its smallest preset runs through, and its controls are there."""

import json

import pytest

from tenfold.lab import registry


@pytest.mark.slow
def test_the_smoke_preset_runs_through_the_real_command(shell):
    """Every arm measures, the figures are drawn, the page is written; nothing is judged."""
    said = shell("run", "taylor", "smoke", "--out", "runs")
    assert said.code == 0, said.err
    (folder,) = (shell.cwd / "runs" / "taylor").iterdir()
    arms = registry.load("taylor").arms
    results = {path.stem.rsplit("-", 1)[0] for path in (folder / "results").iterdir()}
    assert results == set(arms)
    assert json.loads((folder / "claims.json").read_text())["claims"] == []
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".csv", ".json"}
    assert "<html" in (folder / "report.html").read_text()[:200]


def test_every_claim_names_a_control_that_replaces_its_arm():
    """A claim that no sabotage of what it compares can turn is not a claim."""
    study = registry.load("taylor")
    for claim in study.claims:
        assert {claim.arm, claim.against} & set(study.sabotages[claim.sabotage]), claim.id
