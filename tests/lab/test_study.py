"""A study that could not be run, judged or written to disk can't be built."""

import dataclasses
from dataclasses import dataclass, replace

import pytest

from tenfold.lab import Arm, Claim, Figure, Paper, Preset, Study


@dataclass(frozen=True)
class Config:
    steps: int = 3


@dataclass(frozen=True)
class OtherConfig:
    steps: int = 3


@dataclass(frozen=True)
class Greedy:
    workers: int = 3


def measure(config, key, run):
    return {"x": 1.0}


def presets(config=Config(), seeds=3):
    return {name: Preset("1 s", config, seeds) for name in ("smoke", "small", "paper")}


CLAIM = Claim("s/c", "says", "where", "x", "a", "b", "lower", 0.1, "off")
PARTS = {
    "paper": Paper("s", "Title", "0000.00000", "headline", "@x"),
    "presets": presets(),
    "arms": {"a": Arm(measure), "b": Arm(measure)},
    "claims": (CLAIM, replace(CLAIM, id="s/d", against=0.5)),
    "sabotages": {"off": {"a": Arm(measure)}},
}


def test_a_study_is_named_after_its_papers_package():
    study = Study(**PARTS)
    assert study.name == "s"
    assert (study.figures, study.differences) == ((), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.arms = {}


BAD = {
    "preset missing": ({"presets": {"small": PARTS["presets"]["small"]}}, "'smoke' is missing"),
    "two configs": (
        {"presets": presets() | {"paper": Preset("1 s", OtherConfig())}},
        "all presets must hold one dataclass",
    ),
    "no dataclass": ({"presets": presets({"steps": 3})}, "all presets must hold one dataclass"),
    "no seeds": ({"presets": presets(seeds=0)}, "'smoke' needs at least one seed"),
    "a field of the command": (
        {"presets": presets(Greedy())},
        "'workers' is an option of the command, no field",
    ),
    "arm as a path": ({"arms": {**PARTS["arms"], "../c": Arm(measure)}}, "'../c' can't be part"),
    "preset with a space": (
        {"presets": presets() | {"big one": Preset("1 s", Config())}},
        "'big one' can't be part of a file's name",
    ),
    "figure as a path": ({"figures": (Figure("a/b", "", measure),)}, "'a/b' can't be part"),
    "claim of another study": ({"claims": (replace(CLAIM, id="t/c"),)}, "must be named s/..."),
    "two claims of one name": ({"claims": (CLAIM, CLAIM)}, "two claims are named 's/c'"),
    "unknown arm": ({"claims": (replace(CLAIM, arm="z"),)}, "names the arm 'z'"),
    "unknown rival": ({"claims": (replace(CLAIM, against="z"),)}, "names the arm 'z'"),
    "unknown sabotage": ({"claims": (replace(CLAIM, sabotage="z"),)}, "no known sabotage: 'z'"),
    "sabotage of no arm": (
        {"sabotages": {"off": {"z": Arm(measure)}}},
        "replaces 'z', which is no",
    ),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD.keys())
def test_a_slip_is_refused_when_the_study_is_built(change, says):
    with pytest.raises(ValueError, match=says):
        Study(**(PARTS | change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"direction": "near", "tolerance": 0.0}, "s/c: a 'near' claim needs a tolerance > 0"),
        ({"direction": "near", "tolerance": -1.0}, "s/c: a 'near' claim needs a tolerance > 0"),
        ({"tolerance": float("nan")}, "s/c: the tolerance must be finite"),
        ({"tolerance": float("inf")}, "s/c: the tolerance must be finite"),
    ],
)
def test_a_claim_that_could_not_be_judged_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(CLAIM, **change)


def test_a_margin_of_ones_own_disadvantage_is_allowed():
    """How much worse is still accepted."""
    assert replace(CLAIM, direction="higher", tolerance=-0.005).tolerance == -0.005


def test_a_sabotage_concerns_the_claims_that_name_it():
    """Their arms and those that it replaces are measured, no others; without one, everything."""
    arms = {name: Arm(measure) for name in "abcd"}
    other = Arm(measure, says="broken")
    claims = (CLAIM, replace(CLAIM, id="s/d", arm="c", against=0.5, sabotage="on"))
    study = Study(**PARTS | {
        "arms": arms, "claims": claims, "sabotages": {"off": {"d": other}, "on": {"c": other}},
    })  # fmt: skip
    assert study.arms_of(None) == arms
    assert study.claims_of(None) == claims
    assert list(study.arms_of("off")) == ["a", "b", "d"]
    assert study.arms_of("off")["d"] is other
    assert study.claims_of("off") == claims[:1]
    assert study.arms_of("on") == {"c": other}
