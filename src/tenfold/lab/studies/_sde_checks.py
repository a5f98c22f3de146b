"""What the theory promises, on equations with known answers (claims 1 to 4)."""

import time
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import sde
from tenfold.base.typing import Key
from tenfold.lab.run import Run

NS = (16, 64, 256)


class Proportional(eqx.Module):
    """rate z."""

    rate: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return self.rate * z


def brownian_growth() -> sde.SDE:
    """dz = 0.1 z dt + 0.3 z dW in Ito's calculus: geometric Brownian motion."""
    drift, diffusion = Proportional(jnp.array(0.1)), Proportional(jnp.array(0.3))
    return sde.SDE(drift, diffusion, noise="diagonal", kind="ito")


def closed_form(equation: Any, z0: Array, t: Any, w: Array, args: Any = None) -> Array:
    del args
    mu, sigma = equation.drift.rate, equation.diffusion.rate
    return z0 * jnp.exp((mu - 0.5 * sigma**2) * t + sigma * w)


class _Renewed(sde.AbstractBlocks):
    """Another path with the law of `blocks`: each run of steps reversed and negated."""

    blocks: sde.AbstractBlocks
    preferred: int = eqx.field(static=True)

    def __call__(self, first: Any, size: int) -> sde.Increment:
        found = self.blocks(first, size)
        return jax.tree.map(lambda x: -x[::-1], found)


class NotReplayed(sde.AbstractGradient):
    """The sabotage: the value on one path, its gradient along another."""

    inner: Any

    def check(self, problem: sde.Problem) -> None:
        self.inner.check(problem)

    def __call__(self, problem: sde.Problem) -> Any:
        renewed = eqx.tree_at(
            lambda p: p.noise,
            problem,
            _Renewed(blocks=problem.noise, preferred=problem.noise.preferred),
        )
        right, wrong = self.inner(problem), self.inner(renewed)

        def values_of(a: Any, b: Any) -> Any:  # values of the one, gradients of the other
            return b + jax.lax.stop_gradient(a - b)

        return jax.tree.map(values_of, right, wrong)


def orders(config: Any, key: Key, run: Run, *, replayed: bool = True) -> dict[str, Any]:
    """Fitted slopes of the gradient's error against the closed form."""
    del run
    cases = {
        "euler": (sde.EulerMaruyama(), sde.Checkpoint()),
        "milstein": (sde.Milstein(), sde.Checkpoint()),
        "adjoint": (sde.Heun(), sde.Backsolve()),
        "exact": (sde.ReversibleHeun(), sde.Exact()),
    }
    found: dict[str, Any] = {}
    with jax.enable_x64(True):
        equation, z0 = brownian_growth(), jnp.array([1.5])
        options = {"exact": closed_form, "ns": NS, "paths": config.paths, "key": key}
        for name, (method, gradient) in cases.items():
            way = gradient if replayed else NotReplayed(gradient)
            order = sde.gradient_order(equation, z0, method=method, gradient=way, **options)
            found[f"{name}_gradient"] = float(order.slope)
            found[f"{name}_errors"] = np.asarray(order.errors)
            found["step_sizes"] = np.asarray(order.steps)
    return found


# ---- Memory -----------------------------------------------------------------------------------
@cache
def _program(gradient: sde.AbstractGradient, steps: int) -> Any:
    """The compiled gradient of a loss of a small net's solve, in float64."""

    def loss(net: Any, z0: Array, key: Array) -> Array:
        diffusion = Proportional(jnp.array(0.3))
        equation = sde.SDE(net, diffusion, noise="diagonal", kind="stratonovich")
        ts = jnp.array([0.0, 1.0])
        out = sde.sdesolve(equation, z0, ts, key, substeps=steps, gradient=gradient)
        return jnp.sum(out.zs[-1] ** 2)

    like = jax.eval_shape(_memory_problem, jax.random.key(0))
    return jax.jit(jax.grad(loss)).lower(*like).compile()


def _memory_problem(key: Array) -> tuple[Any, Array, Array]:
    first, second = jax.random.split(key)
    net = _Net(jax.random.normal(first, (6, 32)) / 3, jax.random.normal(second, (32, 6)) / 6)
    return net, jnp.ones((64, 6)), key


class _Net(eqx.Module):
    inner: Array
    outer: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return jnp.tanh(z @ self.inner) @ self.outer - z


def memory(
    config: Any, key: Key, run: Run, *, exact: Any = None, adjoint: Any = None
) -> dict[str, Any]:
    """Temporary bytes at several numbers of steps, and how far two gradients are apart."""
    del run
    ways = {"exact": exact or sde.Exact(), "adjoint": adjoint or sde.Backsolve()}
    ways |= {"stored": sde.Store()}
    counts = config.memory_steps
    with jax.enable_x64(True):
        used = {name: [_bytes(way, n) for n in counts] for name, way in ways.items()}
        problem = _memory_problem(key)
        pair = [_program(ways[name], counts[0])(*problem) for name in ("exact", "stored")]
        gap = _gap(*pair)
    return {
        "exact_growth": used["exact"][-1] / used["exact"][0],
        "adjoint_growth": used["adjoint"][-1] / used["adjoint"][0],
        "exact_share": used["exact"][-1] / used["stored"][-1],
        "gradient_gap": gap,
        "step_counts": counts,
        **{f"{name}_bytes": row for name, row in used.items()},
    }


def _bytes(gradient: sde.AbstractGradient, steps: int) -> int:
    return _program(gradient, steps).memory_analysis().temp_size_in_bytes


def _gap(a: Any, b: Any) -> float:
    """Largest difference of any array, relative to that array's largest entry."""
    pairs = [map(np.asarray, pair) for pair in zip(jax.tree.leaves(a), jax.tree.leaves(b))]
    return max(float(np.max(np.abs(x - y)) / np.max(np.abs(y))) for x, y in pairs)


# ---- Reversal ---------------------------------------------------------------------------------
def reversal(config: Any, key: Key, run: Run, *, negated: str) -> dict[str, Any]:
    """Solves geometric Brownian motion back from its true end, by negated terms of one calculus.

    Ito's by Euler-Maruyama, Stratonovich's by Heun; the root mean square error of z(0).
    """
    del run
    with jax.enable_x64(True):
        errors = [_rebuilt(n, config.paths, negated, key) for n in NS]
        steps = 1 / jnp.asarray(NS, jnp.float64)
        slope = sde.Order(steps, jnp.stack([e for e, _ in errors])).slope
        gap = errors[-1][1]
        return {
            "error": float(errors[-1][0]),
            "slope": float(slope),
            "errors": [float(e) for e, _ in errors],
            "step_sizes": np.asarray(steps),
            "gap": np.asarray(gap),
        }


def _rebuilt(n: int, paths: int, negated: str, key: Key) -> tuple[Array, Array]:
    """The error at 0, and that along the way."""
    equation = brownian_growth()
    noise = sde.GridNoise(key, (paths, 1), 0.0, 1.0, n)
    w = jax.vmap(lambda i: noise.increment(i).w)(jnp.arange(n))
    path = jnp.concatenate([jnp.zeros((1, paths, 1)), jnp.cumsum(w, axis=0)])
    times = jnp.linspace(0, 1, n + 1)
    truth = closed_form(equation, jnp.array(1.5), times[:, None, None], path)
    if negated == "ito":
        method, system = sde.EulerMaruyama(), sde.System(equation, None, "ito")
    else:
        method, system = sde.Heun(), sde.System(equation, None, "stratonovich")

    def body(z: Array, x: Any) -> tuple[Array, Array]:
        t, dw, true = x
        z, _, _ = method.step(system, t, -1 / n, sde.Increment(-dw, None), z, None, None)
        return z, jnp.sqrt(jnp.mean((z - true) ** 2))

    _, gaps = jax.lax.scan(body, truth[-1], (times[1:], w, truth[:-1]), reverse=True)
    return gaps[0], gaps


# ---- The tree ---------------------------------------------------------------------------------
def tree(
    config: Any, key: Key, run: Run, *, summed: bool = False, fresh: bool = False
) -> dict[str, Any]:
    """Time of 256 queries at two tolerances, and whether a second query agrees."""
    del config, run

    def value(tol: float, key: Array, t: Array) -> Any:
        if summed:  # a path without a tree: all increments up to t are added
            grid = sde.GridNoise(key, (8,), 0.0, 1.0, round(1 / tol))
            return grid.evaluate(jnp.round(t / tol) * tol)  # pyright: ignore
        return sde.VirtualBrownianTree(key, (8,), 0.0, 1.0, tol).value(t)

    ts = jax.random.uniform(key, (256,))
    queries = [
        jax.jit(jax.vmap(lambda k, t, tol=tol: value(tol, k, t), in_axes=(None, 0)))
        for tol in (1e-2, 1e-4)
    ]
    seconds = _least_seconds(queries, key, ts)
    # Once all at once, once one after the other in another order, by another program.
    one_by_one = jax.jit(lambda k, ts: jax.lax.map(lambda t: value(1e-4, k, t), ts))
    again = jax.random.fold_in(key, 1) if fresh else key
    gap = jnp.max(jnp.abs(queries[1](key, ts) - one_by_one(again, ts[::-1])[::-1]))
    return {"query_time_ratio": seconds[1] / seconds[0], "repeat_gap": float(gap)}


def _least_seconds(programs: list[Any], *args: Any) -> list[float]:
    """The least time of each; in turn, so that a busy moment of the machine meets them all."""
    for program in programs:
        jax.block_until_ready(program(*args))
    seconds = []
    for _ in range(25):
        for program in programs:
            start = time.perf_counter()
            jax.block_until_ready(program(*args))
            seconds.append(time.perf_counter() - start)
    return [min(seconds[i :: len(programs)]) for i in range(len(programs))]
