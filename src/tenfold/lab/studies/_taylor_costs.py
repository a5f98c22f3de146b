"""What a K-th derivative costs, by every scheme, and that all of them are right (claims C4, C5)."""

import math
import re
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import taylor
from tenfold.base.jet import Tower
from tenfold.lab.run import Run
from tenfold.lab.timing import Statistic, timings
from tenfold.lab.train import GradientStep, jitted_step, owned
from tenfold.nets import TimeMLP
from tenfold.taylor import baselines

SCHEMES: dict[str, taylor.Coefficients] = {
    "online": taylor.taylor_coefficients,
    "restarted": baselines.restarted_coefficients,
    "nested": baselines.nested_coefficients,
    "doubling": baselines.doubling_coefficients,
}
LAYERS, SIZE, WIDTH, BATCH = 3, 64, 128, 64


# ---- Right? -----------------------------------------------------------------------------------
def time_forgotten(f: Any, t: Any, z: Any, order: int, *, args: Any = None) -> list[Any]:
    """The mistake to be caught: the field's own dependence on time left out of the series."""
    del args
    coefficients, tower = [z], Tower(lambda state: f(t, state, None), z)
    for k in range(order):
        coefficients.append(tower.push(coefficients[k]) / (k + 1))
    return coefficients


TANGENT_NUMBERS = (0, 1, 0, 2, 0, 16, 0, 272)


def closed_forms(config: Any, key: Array, run: Run, *, scheme: Any = taylor.taylor_coefficients):
    """Largest relative error of orders 1..7 on fields whose derivatives are known."""
    del config, run
    with jax.enable_x64(True):
        z = jax.random.uniform(key, (), jnp.float64, 0.5, 1.5)
        cases: list[tuple[Callable, float, Any, Callable[[int], Any]]] = [
            (lambda t, z, _: z**2, 0.0, z, lambda k: math.factorial(k) * z ** (k + 1)),
            (lambda t, z, _: 1 + z**2, 0.0, 0 * z, lambda k: TANGENT_NUMBERS[k]),
            (lambda t, z, _: z + t, 0.0, z, lambda k: z + (k > 1)),
        ]
        errors = []
        for f, t, start, exact in cases:
            found = taylor.total_derivatives(f, t, start, 7, coefficients=scheme)
            errors += [abs(found[k] - exact(k)) / max(1.0, exact(k)) for k in range(1, 8)]
        return {"error": float(jnp.max(jnp.stack(errors)))}


# ---- Fast? ------------------------------------------------------------------------------------
def field(t: Any, z: Array, net: TimeMLP) -> Array:
    return jax.vmap(net, (None, 0, None))(t, z, None)


def build(key: Array) -> TimeMLP:
    return TimeMLP(SIZE, WIDTH, LAYERS - 1, activate_input=False, dtype=jnp.float32, key=key)


class Program(NamedTuple):
    """A compiled function, and the seconds that making it took (few, if it was in JAX's cache)."""

    run: Any
    trace_seconds: float
    compile_seconds: float

    @property
    def dense(self) -> int:
        """Dense products in it on a CPU: ` dot(` and the custom calls to a matmul."""
        lines = self.run.as_text().splitlines()
        return sum(" dot(" in x or bool(re.search(r"custom-call.*matmul", x)) for x in lines)


def compiled(function: Callable) -> Program:
    """`function(net, z)` as a program for a net and a batch of the sizes above."""
    net = jax.eval_shape(build, jax.random.key(0))
    state, start = jax.ShapeDtypeStruct((BATCH, SIZE), jnp.float32), time.perf_counter()
    lowered = jax.jit(function).lower(net, state)
    traced = time.perf_counter()
    return Program(lowered.compile(), traced - start, time.perf_counter() - traced)


def coefficient(scheme: str, order: int, net: TimeMLP, z: Array) -> Array:
    return SCHEMES[scheme](field, 0.3, z, order, args=net)[order]


@cache
def gradient(scheme: str, order: int) -> Program:
    """The compiled gradient of mean |z_K|^2 in the weights."""
    return compiled(jax.grad(lambda net, z: jnp.mean(coefficient(scheme, order, net, z) ** 2)))


def schemes(config: Any, key: Array, run: Run, *, scheme: str = "online"):
    """The gradient of z_K by every scheme; `scheme` is what passes for ours."""
    del run
    order = config.cost_order
    programs = {name: gradient(name, order) for name in SCHEMES if name != "nested" or order < 8}
    programs["ours"] = programs[scheme]
    found = timed(programs, key)
    return {
        "dense_over_floor": programs["ours"].dense / (3 * LAYERS * order - 1),
        "restarted_time_ratio": found["restarted"] / found["ours"],
        **{f"{name}_dense": program.dense for name, program in programs.items()},
        **{f"{name}_gradient_seconds": seconds for name, seconds in found.items()},
    }


def timed(
    programs: dict[str, Program], key: Array, *, statistic: Statistic = min
) -> dict[str, float]:
    """Seconds of each gradient, once all were found to be the same gradient.

    **Raises:** `ArithmeticError` when one is 0.1 % of its norm away from the first.
    """
    weights, state = jax.random.split(key)
    net, z = build(weights), jax.random.normal(state, (BATCH, SIZE), jnp.float32)
    values = {name: _flat(program.run(net, z)) for name, program in programs.items()}
    truth = next(iter(values.values()))
    for name, value in values.items():
        error = float(np.linalg.norm(value - truth) / np.linalg.norm(truth))
        if not error < 1e-3:
            raise ArithmeticError(f"the gradient of scheme {name} is off by {error:.1g}")
    calls = {name: partial(program.run, net, z) for name, program in programs.items()}
    return timings(calls, statistic=statistic)


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def training_step(advance: GradientStep, model: Any, batch: Any, key: Array) -> Callable[[], Any]:
    """At each call the next step of a training on one batch, as `fit` takes it."""
    state, first_bad = jax.tree.map(owned, advance.init(model)), jnp.int32(-1)

    def step() -> Any:
        nonlocal state, first_bad
        state, first_bad, _ = jitted_step((advance, batch), state, first_bad, jnp.int32(0), key)
        return state

    return step


def overhead(config: Any, key: Array, run: Run, *, step: Callable[..., Callable], **worse: Any):
    """Time of `step(config, key, ...)` with R_2, by each quadrature, relative to one without."""
    del run
    hows = {how: {"order": 2, "quadrature": how} for how in ("step", "stage", "mc")}
    hows |= {"none": {"order": 0}, "step": hows["step"] | worse}
    found = timings({k: step(config, key, weight=jnp.float32(1), **h) for k, h in hows.items()})
    ratios = {f"{name}_time_ratio": seconds / found["none"] for name, seconds in found.items()}
    return ratios | {f"{name}_seconds": seconds for name, seconds in found.items()}
