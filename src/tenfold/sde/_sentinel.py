"""Which term of a latent SDE became non-finite first, and when."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold.base import RESULTS
from tenfold.base.typing import Key
from tenfold.sde._elbo import encoded, kl_z0, posterior_paths, start
from tenfold.sde._gradients import AbstractGradient
from tenfold.sde._grid import refined
from tenfold.sde._kl import control, half_square
from tenfold.sde._latent import Encoding, LatentSDE
from tenfold.sde._march import Problem, Saved, march
from tenfold.sde._methods import AbstractMethod


class NonFinite(NamedTuple):
    """The first term that was not finite."""

    term: str
    """`xs`, `encoder`, `z0_prior`, `observation`, `drift`, `prior`, `diffusion`, `u` (the drifts'
    gap over the diffusion), `kl_path`, `kl_z0`, `decoder`, `likelihood`; or `step`: the state after
    the step was not finite although the fields were, at the state before it; then the step is too
    large. Or `scheme`: all is finite, but the scheme became unstable (`Solution.result`)."""
    time: float
    """Where on the path; the first of `ts` for what has no time, the last for the scheme."""

    def __str__(self) -> str:
        if self.term == "scheme":
            return f"the scheme became unstable before t = {self.time:g}"
        return f"`{self.term}` became non-finite at t = {self.time:g}"


def sentinel(
    model: LatentSDE,
    xs: Array,
    ts: Array,
    key: Key,
    *,
    mask: Array | None = None,
    samples: int = 1,
    substeps: int = 1,
    method: AbstractMethod | None = None,
) -> NonFinite | None:
    """*Host.* Solves as `elbo` does with this key and method, and looks at all terms at all steps.

    Of the terms that are non-finite at the earliest time, the one that the others are computed
    from is named. None if all is finite.
    """
    encoding, mask = encoded(model, xs, ts, mask)
    for name, value in _timeless(model, encoding, xs, mask):
        if not _finite(value):
            return NonFinite(name, float(ts[0]))
    at_start, at_path = jax.random.split(key)
    z0 = start(encoding, samples, at_start)
    times = refined(ts, substeps, z0.dtype).times
    solution = posterior_paths(
        model, encoding, z0, ts, at_path, substeps=substeps, method=method, gradient=_EveryStep()
    )
    zs, fine = solution.zs, _by_step(encoding, substeps)
    flags = _flags(model, fine, zs, times, _likelihood(model, zs, xs, mask, substeps))
    found = _first(flags, np.asarray(times))
    if found is None and solution.result == RESULTS.unstable:
        return NonFinite("scheme", float(ts[-1]))
    return found


class _EveryStep(AbstractGradient):
    """Not for a gradient: gives the state after each step, with the scheme as `elbo` has it."""

    def check(self, problem: Problem) -> None:
        del problem

    def __call__(self, problem: Problem) -> Saved:
        progress, _ = march(problem, anchor_every=1)
        assert progress.anchors is not None
        return progress.saved._replace(zs=progress.anchors[0])


def _timeless(model: LatentSDE, encoding: Encoding, xs: Array, mask: Array) -> Any:
    yield "xs", jnp.where(mask, xs, 0)
    yield "encoder", encoding
    yield "z0_prior", (model.z0_prior.mean, model.z0_prior.scale)
    yield "observation", model.observation.scale
    yield "kl_z0", kl_z0(encoding, model.z0_prior)


def _finite(tree: Any) -> bool:
    arrays = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return all(bool(jnp.all(jnp.isfinite(a))) for a in arrays)


def _by_step(encoding: Encoding, substeps: int) -> Encoding:
    """The encoding as each substep sees it."""
    context = jax.tree.map(lambda leaf: jnp.repeat(leaf, substeps, axis=0), encoding.context)
    return Encoding(encoding.mean, encoding.scale, encoding.shared, context)


def _likelihood(model: LatentSDE, zs: Array, xs: Array, mask: Array, substeps: int) -> Array:
    """Whether the log-likelihood is finite, at each of `ts`; True between them."""
    mean = model.decoder(zs[::substeps])
    seen = jnp.moveaxis(jnp.where(mask, xs, 0), 1, 0)[:, None]
    shown = jnp.moveaxis(mask, 1, 0)[:, None]
    terms = model.observation.log_prob(jnp.broadcast_to(seen, mean.shape), mean)
    good = jnp.isfinite(terms) | ~jnp.broadcast_to(shown, mean.shape)
    fine = jnp.ones(zs.shape[0], bool)
    return fine.at[::substeps].set(jnp.all(good, axis=(1, 2, 3)))


def _flags(
    model: LatentSDE, encoding: Encoding, zs: Array, times: Array, likelihood: Array
) -> dict[str, np.ndarray]:
    """Term -> whether it was finite, (steps + 1,), in the order in which one needs the other.

    Where the state isn't, the fields are looked at with the one before: they may be why.
    """
    sde = model.posterior_sde()
    last, whole = zs.shape[0] - 2, jnp.all(jnp.isfinite(zs), axis=(1, 2, 3))

    def terms(i: Array) -> dict[str, Array]:
        z, t, shared = jnp.where(whole[i], zs[i], zs[i - 1]), times[i], encoding.shared
        context = jax.tree.map(lambda leaf: leaf[jnp.minimum(i, last)], encoding.context)
        f = sde.drift(t, z, shared if encoding.context is None else (shared, context))
        found = {"step": zs[i], "drift": f}
        if model.diffusion is not None:
            h, g = model.prior(t, z, None), model.diffusion(t, z, None)
            u = control(f, h, g, model.noise)
            found |= {"prior": h, "diffusion": g, "u": u, "kl_path": half_square(u, model.noise)}
        found["decoder"] = model.decoder(z)
        return {name: jnp.all(jnp.isfinite(value)) for name, value in found.items()}

    flags = jax.lax.map(terms, jnp.arange(zs.shape[0]))
    # `lax.map` returns the names sorted; what is needed first comes first.
    order = [
        n for n in ("drift", "prior", "diffusion", "u", "kl_path", "step", "decoder") if n in flags
    ]
    return {n: np.asarray(flags[n]) for n in order} | {"likelihood": np.asarray(likelihood)}


def _first(flags: dict[str, np.ndarray], times: np.ndarray) -> NonFinite | None:
    fine = np.all(np.stack(list(flags.values())), axis=0)
    if fine.all():
        return None
    i = int(np.argmin(fine))
    return NonFinite(next(name for name, ok in flags.items() if not ok[i]), float(times[i]))
