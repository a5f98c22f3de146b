"""What a K-th derivative costs, by every scheme, and that all of them are right (claims C4, C5)."""

import math
import re
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import taylor
from tenfold.base.jet import Tower
from tenfold.lab.run import Run
from tenfold.lab.train import jitted_step, owned
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


def dense_products(compiled: Any) -> int:
    """Dense products in a compiled CPU program: ` dot(` and the custom calls to a matmul."""
    lines = compiled.as_text().splitlines()
    return sum(" dot(" in line or bool(re.search(r"custom-call.*matmul", line)) for line in lines)


def build(config: Any, key: Array) -> TimeMLP:
    del config
    return TimeMLP(SIZE, WIDTH, LAYERS - 1, activate_input=False, dtype=jnp.float32, key=key)


@cache
def gradient(scheme: str, order: int) -> tuple[Any, float]:
    """The compiled gradient of mean |z_K|^2 in the weights, and the seconds that compiling took."""
    net = jax.eval_shape(lambda key: build(None, key), jax.random.key(0))
    state = jax.ShapeDtypeStruct((BATCH, SIZE), jnp.float32)

    def objective(net: TimeMLP, z: Array) -> Array:
        return jnp.mean(SCHEMES[scheme](field, 0.3, z, order, args=net)[order] ** 2)

    lowered = jax.jit(jax.grad(objective)).lower(net, state)
    start = time.perf_counter()
    return lowered.compile(), time.perf_counter() - start


def medians(programs: dict[str, Callable[[], Any]], repeats: int = 21) -> dict[str, float]:
    """Median seconds of each, taken in turn, so that a slow spell of the machine hits all."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(repeats):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def schemes(config: Any, key: Array, run: Run, *, scheme: str = "online"):
    """The gradient of z_K by every scheme; `scheme` is what passes for ours."""
    del run
    order, weights, state = config.cost_order, *jax.random.split(key)
    net, z = build(config, weights), jax.random.normal(state, (BATCH, SIZE), jnp.float32)
    compiled = {name: gradient(name, order) for name in SCHEMES if name != "nested" or order < 8}
    compiled["ours"] = compiled[scheme]
    values = {name: program(net, z) for name, (program, _) in compiled.items()}
    found = medians({k: lambda p=p: p(net, z) for k, (p, _) in compiled.items()})
    dense = {name: dense_products(program) for name, (program, _) in compiled.items()}
    return {
        "dense_over_floor": dense["ours"] / (3 * LAYERS * order - 1),
        "restarted_time_ratio": found["restarted"] / found["ours"],
        "disagreement": _disagreement(values),
        **{f"{name}_dense": count for name, count in dense.items()},
        **{f"{name}_gradient_seconds": seconds for name, seconds in found.items()},
        **{f"{name}_compile_seconds": seconds for name, (_, seconds) in compiled.items()},
    }


def _disagreement(values: dict[str, Any]) -> float:
    """Largest distance of a scheme's gradient from the online one, relative to its norm."""
    flat = {n: np.concatenate([np.ravel(x) for x in jax.tree.leaves(v)]) for n, v in values.items()}
    scale = np.linalg.norm(flat["online"])
    return max(float(np.linalg.norm(v - flat["online"]) / scale) for v in flat.values())


def overhead(config: Any, key: Array, run: Run, *, scheme: str = "online"):
    """A training step with R_2, by each quadrature, relative to a step without."""
    del run
    steps = {
        how: training_step(config, how, scheme, key) for how in ("none", "step", "stage", "mc")
    }
    found = medians(steps)
    ratios = {f"{name}_time_ratio": s / found["none"] for name, s in found.items()}
    return ratios | {f"{name}_seconds": seconds for name, seconds in found.items()}


def training_step(config: Any, how: Any, scheme: str, key: Array) -> Callable[[], Any]:
    """Takes the next step of a training; a slower scheme is also asked for R_5 at every stage."""
    from tenfold.lab.studies import taylor as study

    order = 2
    if how == "none":
        order, how = 0, "step"
    elif scheme != "online" and how == "step":
        order, how = 5, "stage"
    reg = study.Speed(order, jnp.float32(1), coefficients=SCHEMES[scheme], quadrature=how)
    advance = study.gradient_step(config, reg)
    state = jax.tree.map(owned, advance.init(study.model(config, key)))
    first_bad, batch = jnp.int32(-1), study.data(config.data, "train", config.batch)

    def step() -> Any:
        nonlocal state, first_bad
        state, first_bad, _ = jitted_step((advance, batch), state, first_bad, jnp.int32(0), key)
        return state

    return step
