"""One solve with everything in it that can be differentiated, for each noise type and calculus."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import sde

D, M, BATCH = 3, 2, 2
TS = (0.0, 0.05, 0.3, 0.35, 0.8)
"""Uneven on purpose."""
SUBSTEPS = 5
CASES = [
    (noise, kind)
    for noise in ("diagonal", "scalar", "additive", "general")
    for kind in ("ito", "stratonovich")
]


def seen(args: Any) -> tuple[Any, Array]:
    """The args of a field, and its context (0 where there is none)."""
    return args if isinstance(args, tuple) else (args, jnp.zeros(D))


class Drift(eqx.Module):
    """tanh(A z + b t + context) - z^power / 10."""

    a: Array
    b: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        args, context = seen(args)
        shift = jnp.broadcast_to(self.b * t + context, z.shape).astype(z.dtype)
        bent = jnp.tanh(z @ self.a.T + shift)
        return bent - 0.1 * args["scale"] * z ** args["power"]


class Diffusion(eqx.Module):
    """Of the shape that its noise type wants; smooth, and far from 0."""

    c: Array
    noise: str = eqx.field(static=True)

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        args, context = seen(args)
        size = args["scale"] * (1 + 0.3 * jnp.sin(t)).astype(z.dtype)
        if self.noise == "additive":
            moved = self.c[:, :M] * (1 + 0.1 * context[:, None]).astype(z.dtype)
            return size * jnp.broadcast_to(moved, (*z.shape, M))
        if self.noise == "general":
            bends = jnp.stack([jnp.sin(z @ self.c.T), jnp.cos(z)], axis=-1)
            return size * (0.3 + 0.2 * bends)
        bend = z * jnp.broadcast_to(self.c[0], z.shape)
        return size * (0.3 + 0.2 * jnp.sin(bend))


class Cost(eqx.Module):
    """A rate with a parameter of its own, of the drift and the diffusion."""

    weight: Array

    def __call__(self, t: Any, z: Array, f: Array, g: Array, args: Any) -> Array:
        squares = jnp.sum(g * g, axis=tuple(range(z.ndim - 1, g.ndim)))
        weighted = jnp.sum(f * f * jnp.broadcast_to(self.weight, f.shape), axis=-1)
        return weighted + squares * jnp.asarray(t, z.dtype)


def trained(noise: str, kind: str, dtype: Any = jnp.float64, *, context: bool = True) -> dict:
    """All that can be differentiated, with integers where users have them."""
    keys = jax.random.split(jax.random.key(11), 6)

    def normal(key: Array, *shape: int) -> Array:
        return 0.5 * jax.random.normal(key, shape, dtype)

    return {
        "sde": sde.SDE(
            Drift(normal(keys[0], D, D), normal(keys[1], D)),
            Diffusion(normal(keys[2], D, D), noise),
            noise=noise,
            kind=kind,
        ),
        "cost": Cost(1 + normal(keys[3], D)),
        "args": {"scale": jnp.asarray(0.8, dtype), "power": 2, "label": jnp.arange(3)},
        "context": normal(keys[4], len(TS) - 1, D) if context else None,
        "z0": normal(keys[5], BATCH, D),
    }


def path(p: dict, substeps: int = SUBSTEPS) -> sde.RecordedNoise:
    """One Brownian path on the grid of a solve. Numbers given compile faster than numbers drawn."""
    shapes = {"diagonal": (BATCH, D), "scalar": (BATCH,)}
    shares = np.arange(substeps) / substeps
    inner = np.array(TS)[:-1, None] + np.diff(TS)[:, None] * shares
    times = np.append(inner.ravel(), TS[-1])
    shape = (len(times) - 1, *shapes.get(p["sde"].noise, (BATCH, M)))
    steps = np.diff(times).reshape(-1, *(1,) * (len(shape) - 1))
    w = np.sqrt(steps) * np.random.default_rng(5).standard_normal(shape)
    dtype = p["z0"].dtype
    return sde.RecordedNoise(jnp.asarray(times, dtype), jnp.asarray(w, dtype))


def solved(
    p: dict, gradient: Any = None, *, substeps: int = SUBSTEPS, noise: Any = None, **options: Any
) -> sde.Solution:
    return sde.sdesolve(
        p["sde"],
        p["z0"],
        jnp.asarray(TS, p["z0"].dtype),
        path(p, substeps) if noise is None else noise,
        args=p["args"],
        context=p["context"],
        path_cost=p["cost"],
        gradient=gradient,
        substeps=substeps,
        **options,
    )


def loss(p: dict, gradient: Any = None, **options: Any) -> Array:
    """Of the states at all of `TS`, unequally weighted, and of the cost."""
    solution = solved(p, gradient, **options)
    assert solution.cost is not None
    weights = jnp.arange(1, len(TS) + 1, dtype=solution.zs.dtype)
    squares = jnp.sum(solution.zs**2, axis=(1, 2)) / len(TS)
    return jnp.dot(weights, squares) + jnp.mean(solution.cost)


@eqx.filter_jit
def gradients(p: dict, gradient: Any, **options: Any) -> dict:
    return eqx.filter_grad(lambda p: loss(p, gradient, **options))(p)


def relative_error(found: Any, expected: Any) -> float:
    """|found - expected| / |expected|, the whole gradient as one vector."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    squares = [(jnp.sum((a - b) ** 2), jnp.sum(b**2)) for a, b in pairs]
    return float(jnp.sqrt(sum(a for a, _ in squares) / sum(b for _, b in squares)))
