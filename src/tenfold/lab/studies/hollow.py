"""Neural networks with cheap differential operators (arXiv 1912.03579).

Exact divergences: what they cost, and what flows, implicit solvers and fits of SDEs gain by them.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from tenfold import _papers
from tenfold.lab.studies import _hollow_costs as costs
from tenfold.lab.studies import _hollow_digits as digits
from tenfold.lab.studies import _hollow_figures as figures
from tenfold.lab.studies import _hollow_sdes as sdes
from tenfold.lab.studies import _hollow_stiff as stiff
from tenfold.lab.studies import _hollow_tables as tables
from tenfold.lab.studies import _hollow_toys as toys
from tenfold.lab.studies import _hollow_vae as vae
from tenfold.lab.studies._hollow_claims import CLAIMS, DIFFERENCES
from tenfold.lab.study import Arm, Preset, Study


@dataclass(frozen=True)
class Config:
    cost_sizes: tuple[int, ...] = (16, 64, 256)
    """Dimensions at which a divergence is timed."""
    solver_steps: int = 6
    """Equal Bosh3 steps of a flow in training."""
    steps: int = 200
    """Training steps of the hollow net on the digits."""
    hutchinson_share: float = 0.65
    """Times as many for the same net with Hutchinson's trace: equal time, by `step-times`."""
    plain_share: float = 3.4
    """... and for the unrestricted net with Hutchinson's trace."""
    batch: int = 100
    d_h: int = 8
    """Length of each h_i."""
    tau_width: int = 32
    learning_rate: float = 0.01
    decay: float = 0.998
    """Of the learning rate, a step."""
    every: int = 20
    """Steps between two looks at the validation digits."""
    tested: int = 360
    """Test digits."""
    table: Literal["breast_cancer", "miniboone"] = "breast_cancer"
    table_steps: int = 200
    table_batch: int = 100
    table_rate: float = 0.01
    table_decay: float = 0.998
    toy_steps: int = 400
    toy_batch: int = 128
    toy_width: int = 32
    """Of the conditioner on the two-dimensional densities."""
    toy_rate: float = 5e-3
    toy_decay: float = 0.995
    toy_tested: int = 1_000
    rates: int = 5
    """How many of the stiffnesses 1, 10, ..., 1e4."""
    couplings: int = 5
    """How many of the couplings 0.03, ..., 3."""
    path_steps: int = 600
    """Steps in which the densities of the snapshots are fitted."""
    sde_steps: int = 600
    """... and then the drift."""
    sde_points: int = 500
    """Points a snapshot."""
    sde_width: int = 32
    images: Literal["digits", "mnist"] = "digits"
    """Of the VAE."""
    latent: int = 8
    vae_width: int = 64
    vae_steps: int = 600
    vae_rate: float = 3e-3
    vae_decay: float = 0.998
    vae_solver_steps: int = 4
    vae_tested: int = 240


# ---- Arms -------------------------------------------------------------------------------------
def digit_arm(says: str, **options: Any) -> Arm:
    net = {k: v for k, v in options.items() if k not in ("trace", "own", "share", "idle")}
    return Arm(partial(digits.train, **options), partial(digits.model, **net), says)


def vae_arm(flow: str, **options: Any) -> Arm:
    how = {"flow": flow, **options}
    return Arm(partial(vae.train, **how), partial(vae.model, **how), vae.SAYS[flow])


def solver_arm(name: str, says: str = "") -> Arm:
    return Arm(partial(stiff.measure, name=name), says=says)


noisy: dict[str, Any] = {"trace": "hutchinson"}
ARMS = {
    "exact": Arm(costs.exactness, says="derivatives against dense ones, float64"),
    "costs": Arm(costs.costs, says="a divergence in time and operations"),
    "step-times": Arm(digits.step_times, says="a training step of each digits arm"),
    "hollow": digit_arm("64 pixels, hollow net, exact trace"),
    "hutchinson": digit_arm("the same net, Hutchinson's trace, equal time",
                            share="hutchinson_share", **noisy),
    "plain": digit_arm("unrestricted net of as many parameters, Hutchinson's trace, equal time",
                       restricted=False, share="plain_share", **noisy),
    "plain-steps": digit_arm("... equal steps", restricted=False, **noisy),
    **{f"d_h-{n}": digit_arm(f"16 components, h_i of length {n}", view="components", d_h=n)
       for n in (1, 4, 16)},
    "d_h-all": digit_arm("16 components, unrestricted net, exact trace by JVPs",
                         view="components", d_h=16, restricted=False),
    "table": Arm(tables.train, tables.model, "columns of a table, hollow net, exact trace"),
    "table-plain": Arm(partial(tables.train, restricted=False),
                       partial(tables.model, restricted=False),
                       "... unrestricted net of as many parameters, Hutchinson's trace"),
    "toys": Arm(toys.train, toys.model, "four densities of the plane, hollow nets"),
    "toys-plain": Arm(partial(toys.train, restricted=False), partial(toys.model, restricted=False),
                      "... unrestricted nets of as many parameters, exact trace"),
    "abm-jacobi": solver_arm("abm-jacobi", "Adams of order 4, Jacobi-Newton"),
    "abm-functional": solver_arm("abm-functional", "... functional iteration"),
    "bdf-jacobi": solver_arm("bdf-jacobi", "BDF of order 2, Jacobi-Newton"),
    "bdf-functional": solver_arm("bdf-functional", "... functional iteration"),
    "bdf-newton": solver_arm("bdf-newton", "... Newton with the dense Jacobian"),
    "dopri5": solver_arm("dopri5", "explicit, order 5"),
    "kvaerno5": solver_arm("kvaerno5", "implicit Runge-Kutta of order 5, dense Jacobian"),
    "ou": Arm(partial(sdes.measure, problem="ou"), says="Ornstein-Uhlenbeck, from snapshots"),
    "ou-paths": Arm(partial(sdes.measure, problem="ou", whole=True), says="... from whole paths"),
    "well": Arm(partial(sdes.measure, problem="well"), says="a double well, from snapshots"),
    "well-paths": Arm(partial(sdes.measure, problem="well", whole=True), says="... whole paths"),
    **{f"vae-{flow}": vae_arm(flow) for flow in vae.FLOWS},
}  # fmt: skip

SABOTAGES = {
    "leak": {
        "exact": Arm(partial(costs.exactness, leaks=True)),
        "d_h-16": digit_arm("", view="components", d_h=16, leaks=True),
        "table": Arm(partial(tables.train, leaks=True), partial(tables.model, leaks=True)),
        "toys": Arm(partial(toys.train, leaks=True), partial(toys.model, leaks=True)),
        "vae-hollow": vae_arm("hollow", leaks=True),
    },
    "noisy": {"hollow": digit_arm("", **noisy)},
    "idle": {"hollow": digit_arm("", idle=True)},
    "unsteady": {"hollow": digit_arm("", own="unsteady")},
    "silent": {"costs": Arm(partial(costs.costs, opaque=True))},
    "g-squared": {"exact": Arm(partial(costs.exactness, squared=True))},
    "functional": {
        "abm-jacobi": solver_arm("abm-functional"),
        "bdf-jacobi": solver_arm("bdf-functional"),
    },
    "untrained": {
        name: Arm(partial(sdes.measure, problem=name, trained=False)) for name in ("ou", "well")
    },
}

SMALL = Config()
SMOKE = replace(
    SMALL, cost_sizes=(4, 8), solver_steps=2, steps=2, batch=8, every=1, tested=8, table_steps=2,
    table_batch=16, toy_steps=2, toy_batch=16, toy_tested=50, rates=2, couplings=1, path_steps=2,
    sde_steps=2, sde_points=20, vae_solver_steps=2, vae_steps=2, vae_tested=2,
)  # fmt: skip
PAPER = replace(
    SMALL, cost_sizes=(16, 64, 256, 784), solver_steps=16, steps=10_000, d_h=32, tau_width=64,
    learning_rate=1e-3, decay=0.9998, table="miniboone", table_steps=20_000, table_batch=1_000,
    table_rate=1e-3, table_decay=0.9999, toy_steps=10_000, toy_batch=1_000, toy_width=64,
    toy_rate=1e-3, toy_decay=0.9998, path_steps=5_000, sde_steps=10_000, sde_width=64,
    images="mnist", latent=64, vae_width=512, vae_steps=200_000, vae_rate=5e-4, vae_decay=0.99999,
    vae_solver_steps=16, vae_tested=10_000,
)  # fmt: skip

STUDY = Study(
    paper=_papers.HOLLOW,
    presets={
        "smoke": Preset("3 min, 2 cores", SMOKE, seeds=1),
        "small": Preset("6 min, 2 cores; 3 once compiled", SMALL, seeds=3),
        "paper": Preset("days, 1 GPU; not tested at this size", PAPER, seeds=3),
    },
    arms=ARMS,
    claims=CLAIMS,
    sabotages=SABOTAGES,
    figures=figures.FIGURES,
    differences=DIFFERENCES,
)
