"""A family of ODEs from easy to stiff: what each solver needs, and where it gives up."""

from functools import cache, partial
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax import Array

from tenfold.base import EvalCounter, count_nfe, counted
from tenfold.base.typing import Key
from tenfold.hollow import ABM, BDF, Functional, JacobiNewton
from tenfold.lab.run import Run
from tenfold.lab.timing import timings

SIZE, END = 16, 2.0
RATES = (1.0, 10.0, 1e2, 1e3, 1e4)
COUPLINGS = (0.03, 0.1, 0.3, 1.0, 3.0)
WEAK, STIFF = 0.1, 1e3
"""The coupling while rates grow, and the rate while couplings grow."""
RTOL, ATOL, MAX_STEPS = 1e-4, 1e-6, 4096
CONTROL = dfx.PIDController(rtol=RTOL, atol=ATOL)


class Stiff(eqx.Module):
    r"""y_i' = -rate (s_i (z + z^3)_i - coupling (W z)_i) - sin t with z = y - cos t.

    s runs from 1 down to 0.05; W is hollow, with rows whose sum of absolute values is s_i. Below
    a coupling of 1 the diagonal dominates; y = cos t is a solution, to which the others are drawn.
    """

    scale: Array
    weights: Array

    def __init__(self, key: Key) -> None:
        self.scale = jnp.logspace(0, np.log10(0.05), SIZE, dtype=jnp.float64)
        full = jax.random.normal(key, (SIZE, SIZE), jnp.float64) * (1 - jnp.eye(SIZE))
        self.weights = self.scale[:, None] * full / jnp.sum(jnp.abs(full), axis=1, keepdims=True)

    def __call__(self, t: Any, y: Array, args: Any) -> Array:
        rate, coupling = args
        z = y - jnp.cos(t)
        pull = self.scale * (z + z**3) - coupling * self.weights @ z
        return -rate * pull - jnp.sin(t)

    def value_and_jacobian_diagonal(self, t: Any, y: Array, args: Any) -> tuple[Array, Array]:
        z = y - jnp.cos(t)
        return self(t, y, args), -args[0] * self.scale * (1 + 3 * z**2)


TIGHT: dict[str, Any] = {"rtol": 0.01 * RTOL, "atol": 0.01 * ATOL}
"""Of the implicit equations: a hundredth of the step's own error."""
CORRECTORS = {
    "functional": Functional(**TIGHT),
    "jacobi": JacobiNewton(**TIGHT),
    "newton": optx.Newton(**TIGHT),
}


def solver_of(name: str) -> Any:
    """`abm-jacobi`, `bdf-newton`, ..., `dopri5`, `kvaerno5`."""
    family, _, corrector = name.partition("-")
    if family == "dopri5":
        return dfx.Dopri5()
    if family == "kvaerno5":
        return dfx.Kvaerno5()
    return {"abm": ABM, "bdf": BDF}[family](corrector=CORRECTORS[corrector])


def solve(solver: Any, field: Any, y0: Array, args: Any, saveat: Any, controller: Any = CONTROL):
    return dfx.diffeqsolve(
        dfx.ODETerm(field), solver, 0.0, END, None, y0, args, saveat=saveat,
        stepsize_controller=controller, max_steps=MAX_STEPS, throw=False,
    )  # fmt: skip


@eqx.filter_jit
def solved(solver: Any, field: Stiff, y0: Array, args: Any) -> tuple[Array, Array, Array, Array]:
    """y(END), whether it got there, steps, evaluations where `count_nfe` knows them."""
    solver, controller = counted(solver, CONTROL)
    saveat = dfx.SaveAt(t1=True, solver_state=True, controller_state=True)
    found = solve(solver, field, y0, args, saveat, controller)
    known = not isinstance(solver, dfx.Kvaerno5)
    spent = jnp.asarray(count_nfe(found, solver) if known else 0, jnp.int32)
    ended: Any = found.ys
    okay = found.result == dfx.RESULTS.successful
    return ended[-1], okay, found.stats["num_steps"], spent


def evaluations(name: str, field: Stiff, y0: Array, args: Any, steps: int, spent: int) -> int:
    """Of the field, in rejected steps too; a dense Jacobian counts as d products."""
    if name.endswith("-newton"):
        return spent * (1 + SIZE)
    if name != "kvaerno5":
        return spent
    COUNTER.reset()
    jax.block_until_ready(_counted_solve(y0, (field, args)))
    return COUNTER.count() + SIZE * steps  # Kvaerno5 forms one Jacobian a step


COUNTER = EvalCounter(lambda t, y, given: given[0](t, y, given[1]))


@eqx.filter_jit
def _counted_solve(y0: Array, given: tuple[Stiff, Any]) -> Any:
    return solve(dfx.Kvaerno5(), COUNTER, y0, given, dfx.SaveAt(t1=True)).ys


@cache
def _reference(seed: int, rate: float, coupling: float) -> np.ndarray:
    """y(END) to 1e-9."""
    field, y0 = problem(seed)
    sharp = dfx.PIDController(rtol=1e-9, atol=1e-11)
    found: Any = _sharp(field, y0, (jnp.asarray(rate), jnp.asarray(coupling)), sharp)
    return np.asarray(found)


@eqx.filter_jit
def _sharp(field: Stiff, y0: Array, args: Any, controller: Any) -> Any:
    found: Any = dfx.diffeqsolve(
        dfx.ODETerm(field), dfx.Kvaerno5(), 0.0, END, None, y0, args,
        stepsize_controller=controller, max_steps=100_000, throw=False,
    ).ys  # fmt: skip
    return found[-1]


def problem(seed: int) -> tuple[Stiff, Array]:
    field, start = jax.random.split(jax.random.key(seed))
    y0 = 1 + 0.5 * jax.random.normal(start, (SIZE,), jnp.float64)
    return Stiff(field), y0


def measure(config: Any, key: Key, run: Run, *, name: str) -> dict[str, Any]:
    """What `name` needs as the rate grows, and as the coupling does."""
    del key
    with jax.enable_x64(True):
        rows = {
            "rate": [(rate, WEAK) for rate in RATES[: config.rates]],
            "coupling": [(STIFF, coupling) for coupling in COUPLINGS[: config.couplings]],
        }
        found: dict[str, Any] = {}
        for row, cases in rows.items():
            cells = [_cell(name, run.seed, *case) for case in cases]
            for metric in ("evaluations", "solved", "error", "steps", "seconds"):
                found[f"{row}_{metric}"] = [cell[metric] for cell in cells]
        for row, cases in rows.items():
            found[f"{row}_failures"] = len(cases) - sum(found[f"{row}_solved"])
        if len(rows["rate"]) == len(RATES):
            found |= {f"evaluations_{r:g}": n for r, n in zip(RATES, found["rate_evaluations"])}
            found |= {f"error_{r:g}": e for r, e in zip(RATES, found["rate_error"])}
    return found


def _cell(name: str, seed: int, rate: float, coupling: float) -> dict[str, Any]:
    """One problem. It counts as solved if the solver says so and the error is below 100 times its
    tolerance; evaluations of one that was not solved are those it spent."""
    field, y0 = problem(seed)
    args = (jnp.asarray(rate), jnp.asarray(coupling))
    program = partial(solved, solver_of(name), field, y0, args)
    end, okay, steps, spent = program()
    error = float(np.max(np.abs(np.asarray(end) - _reference(seed, rate, coupling))))
    right = bool(okay) and error < 100 * (RTOL + ATOL)
    return {
        "evaluations": evaluations(name, field, y0, args, int(steps), int(spent)),
        "solved": float(right),
        "error": error if np.isfinite(error) else 1e9,
        "steps": int(steps),
        "seconds": timings({name: program}, spend=0.0)[name],
    }
