"""Flows of the hollow study: fields that know their diagonal or don't, trained and tested alike."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import hollow
from tenfold.base import CNF, EXACT, Hutchinson, Normal, Solve, move, rademacher_like, vmapped
from tenfold.base.typing import Key
from tenfold.hollow import check_hollow
from tenfold.nets import TimeMLP

Trace = Literal["exact", "hutchinson", "unsteady"]
TEST = Solve(dfx.Dopri5(), dfx.PIDController(rtol=1e-5, atol=1e-5))
"""Every flow is tested by this solver; the trained steps are forgotten."""


class Leaking(eqx.Module):
    """The sabotage: h_i sees x_i, so that what passes for the diagonal is not."""

    inner: Callable

    def __call__(self, t: Any, x: Array, args: Any = None) -> Array:
        return self.inner(t, x, args) + x.reshape(-1, 1)


class Opaque(eqx.Module):
    """A field that doesn't tell its diagonal: the trace takes d JVPs."""

    field: Callable

    def __call__(self, t: Any, x: Array, args: Any = None) -> Array:
        return self.field(t, x, args)


# ---- Fields -----------------------------------------------------------------------------------
hollow_mlp = eqx.filter_jit(partial(hollow.hollow_mlp, dtype=jnp.float32))
"""As one program: built op by op it takes seconds."""


def leaking(net: hollow.HollowNet) -> hollow.HollowNet:
    return hollow.HollowNet(Leaking(net.conditioner), net.transformer)


def plain(size: int, parameters: int, key: Key, *, depth: int = 1) -> TimeMLP:
    """An unrestricted field of at least `parameters` numbers, and the fewest units for that."""
    width = 1
    while _plain_parameters(size, width, depth) < parameters:
        width += 1
    return _time_mlp(size, width, depth, key)


@eqx.filter_jit
def _time_mlp(size: int, width: int, depth: int, key: Key) -> TimeMLP:
    net = TimeMLP(size, width, depth, activate_input=False, dtype=jnp.float32, key=key)
    last = lambda net: net.layers[-1].weight  # noqa: E731
    return eqx.tree_at(last, net, 0.1 * last(net))  # it begins near 0, as the hollow one does


def _plain_parameters(size: int, width: int, depth: int) -> int:
    return width * (size + 2) + (depth - 1) * width * (width + 2) + size * (width + 2)


def parameters(field: Any) -> int:
    """Numbers that are trained: what a mask puts to 0 does not count."""
    ones = jax.tree.map(lambda a: jnp.ones_like(a) if eqx.is_inexact_array(a) else a, field)
    arrays = eqx.filter(hollow.fold_masks(ones), eqx.is_inexact_array)
    return sum(int(np.count_nonzero(a)) for a in jax.tree.leaves(arrays))


def honest(field: Any, size: int, *, args: Any = None) -> Any:
    """The field for the test: one that claims a diagonal is believed only if it is proved."""
    if not isinstance(field, hollow.HollowNet):
        return field
    like = jnp.zeros(size, jnp.float32)
    return field if check_hollow(field.conditioner, like, args=args).proved else Opaque(field)


# ---- Training and testing ---------------------------------------------------------------------
def fixed(steps: int) -> Solve:
    """`steps` equal steps of Bosh3, three evaluations each, for training."""
    return Solve(dfx.Bosh3(), dfx.ConstantStepSize(), dt0=1 / steps, max_steps=steps)


class Unsteady(eqx.Module):
    """A sabotage: Hutchinson's trace with another probe at each time; no solver can follow it."""

    key: Key

    def __call__(self, field: Any, t: Any, x: Array, args: Any) -> tuple[Any, Array]:
        bits = jax.lax.bitcast_convert_type(jnp.asarray(t, jnp.float32), jnp.int32)
        probe = rademacher_like(jax.random.fold_in(self.key, bits), x)
        return Hutchinson(probe)(field, t, x, args)


def how_of(trace: Trace, key: Key, x: Array) -> Any:
    """The trace of a batch, its noise drawn."""
    if trace == "unsteady":
        return Unsteady(jax.random.split(key, len(x)))
    return EXACT if trace == "exact" else Hutchinson(rademacher_like(key, x))


def flow(field: Any, size: int, solve: Solve) -> CNF:
    base = Normal(jnp.zeros(size, jnp.float32), jnp.ones(size, jnp.float32))
    return CNF(vmapped(hollow.fold_masks(field)), base, solve=solve)


class Likelihood(eqx.Module):
    """-mean log p of a batch (n, d)."""

    solve: Solve
    trace: Trace = eqx.field(static=True)

    def __call__(self, field: Any, x: Array, key: Key) -> tuple[Array, dict[str, Array]]:
        how = how_of(self.trace, key, x)
        found, _ = flow(field, x.shape[-1], self.solve).log_prob(x, how=how)
        return -jnp.mean(found), {}


class Validation(eqx.Module):
    """-mean log p of the validation data, by the exact trace whatever trains."""

    solve: Solve
    x: Array

    def __call__(self, field: Any) -> Array:
        found, _ = flow(field, self.x.shape[-1], self.solve).log_prob(self.x)
        return -jnp.mean(found)


@partial(eqx.filter_jit, donate="none")
def tested(field: Any, x: Array, key: Key, trace: Trace) -> tuple[Array, Array]:
    """log p of each row by adaptive steps, which the rows share, and the evaluations."""
    found, moved = flow(field, x.shape[-1], TEST).log_prob(x, how=how_of(trace, key, x))
    return found, jnp.asarray(moved.nfe)


@eqx.filter_jit
def spread(field: Any, x: Array, key: Key, trace: Trace, draws: int = 16) -> Array:
    """Standard deviation of log p(x) over draws of the trace's noise, mean over rows."""
    found = jax.vmap(lambda k: tested(field, x, k, trace)[0])(jax.random.split(key, draws))
    return jnp.mean(jnp.std(found, axis=0))


@eqx.filter_jit
def drawn(field: Any, size: int, n: int, key: Key) -> Array:
    """`n` samples, which share the solver's steps."""
    z = jax.random.normal(key, (n, size), jnp.float32)
    return move(vmapped(hollow.fold_masks(field)), z, 0.0, 1.0, solve=TEST).x
