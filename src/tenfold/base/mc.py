"""Monte Carlo odds and ends: logmeanexp, running moments over pytrees, probe vectors."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from tenfold.base._checks import as_float_tree, check_like
from tenfold.base.typing import Key, State


def logmeanexp(
    a: Float[Array, "..."], axis: int | Sequence[int] | None = None
) -> Float[Array, "..."]:
    """log of the mean of exp(a) over `axis` (all axes if None), without overflow.

    **Raises:** ValueError if there is nothing to average.
    """
    axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    n = math.prod(a.shape[i] for i in axes)
    if n == 0:
        raise ValueError(f"logmeanexp of nothing: `a` has shape {a.shape}, axis={axis}.")
    return jax.nn.logsumexp(a, axis=tuple(axes)) - math.log(n)


class Moments(eqx.Module):
    """Running mean and variance of pytrees, made by `moments_init` and `moments_of`.

    Deviations are kept from the first sample (`origin`) and not from zero, so that a mean large
    beside the spread costs no digits: in float32 Welford's plain recurrence stops moving its mean
    once delta/n falls below the spacing of floats there.

    - `count`: samples seen, int32.
    - `origin`: the first sample.
    - `shift`: mean of (sample - origin).
    - `sum_squares`: sum of (sample - mean)^2.
    """

    count: Int[Array, ""]
    origin: PyTree
    shift: PyTree
    sum_squares: PyTree

    @property
    def mean(self) -> PyTree:
        """Mean of the samples, shaped as one of them; 0 before the first."""
        return jax.tree.map(jnp.add, self.origin, self.shift)

    def variance(self, ddof: int = 1) -> PyTree:
        """sum_squares / (count - ddof), shaped as a sample; nan where count <= ddof."""

        def of(m2: Array) -> Array:
            n = (self.count - ddof).astype(m2.dtype)
            return jnp.where(n > 0, m2 / jnp.where(n > 0, n, 1), jnp.nan)

        return jax.tree.map(of, self.sum_squares)

    def standard_error(self) -> PyTree:
        """sqrt(variance / count): the standard deviation of the mean of independent samples."""
        count = jnp.maximum(self.count, 1)
        return jax.tree.map(lambda v: jnp.sqrt(v / count.astype(v.dtype)), self.variance())


def moments_init(like: State) -> Moments:
    """Moments of no sample yet. `like` has a sample's structure, shapes and dtypes.

    **Raises:** ValueError if `like` is not of floats.
    """
    zero = jax.tree.map(jnp.zeros_like, as_float_tree("like", like))
    return Moments(jnp.zeros((), jnp.int32), zero, zero, zero)


def moments_update(state: Moments, sample: State) -> Moments:
    """`state` after one more sample (Welford 1962). Use it in a `scan`; a batch: `moments_of`.

    **Raises:** ValueError if the sample is not shaped as those before it.
    """
    sample = as_float_tree("sample", sample)
    zero = jax.tree.map(jnp.zeros_like, sample)
    return moments_merge(state, Moments(jnp.ones((), jnp.int32), sample, zero, zero))


def moments_of(samples: State) -> Moments:
    """Moments of a batch: the leading axis of every leaf counts the samples.

    **Raises:** ValueError if a leaf has no such axis, or the axes differ or are empty.
    """
    samples = as_float_tree("samples", samples)
    counts = {a.shape[:1] for a in jax.tree.leaves(samples)}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise ValueError(f"`samples` must share a non-empty leading axis, got {sorted(counts)}.")
    origin = jax.tree.map(lambda a: a[0], samples)
    deviations = jax.tree.map(lambda a, o: a - o[None], samples, origin)
    shift = jax.tree.map(lambda d: jnp.mean(d, 0), deviations)
    squares = jax.tree.map(lambda d, s: jnp.sum((d - s[None]) ** 2, 0), deviations, shift)
    count = jnp.asarray(counts.pop()[0], jnp.int32)
    return Moments(count, origin, shift, squares)


def moments_merge(a: Moments, b: Moments) -> Moments:
    """Moments of the samples of `a` and `b` together (Chan, Golub, LeVeque 1979).

    With delta = mean_b - mean_a and n = n_a + n_b: mean = mean_a + delta n_b/n and
    sum_squares = S_a + S_b + delta^2 n_a n_b/n. Either side may be empty.

    **Raises:** ValueError if their samples are not of one structure, shape and dtype.
    """
    check_like("A sample of `b`", b.origin, "a.origin", a.origin, dtype=True)
    n = a.count + b.count
    first = a.count == 0
    origin = jax.tree.map(lambda x, y: jnp.where(first, y, x), a.origin, b.origin)
    shift_a = jax.tree.map(lambda s: jnp.where(first, 0, s), a.shift)
    delta = jax.tree.map(
        lambda ob, o, sb, sa: (ob - o) + (sb - sa), b.origin, origin, b.shift, shift_a
    )
    weight = _ratio(b.count, n)
    shift = jax.tree.map(lambda s, d: s + d * weight(d), shift_a, delta)
    squares = jax.tree.map(
        lambda x, y, d: x + y + d**2 * weight(d) * a.count.astype(d.dtype),
        a.sum_squares,
        b.sum_squares,
        delta,
    )
    return Moments(n, origin, shift, squares)


def _ratio(part: Array, whole: Array) -> Callable[[Array], Array]:
    """part/whole in a leaf's own dtype; 0 where both are."""
    return lambda like: part.astype(like.dtype) / jnp.maximum(whole, 1).astype(like.dtype)


def rademacher_like(key: Key, tree: State) -> PyTree:
    """Independent +-1 with even odds, of `tree`'s structure, shapes and dtypes (floats only)."""
    return _draw(jax.random.rademacher, key, tree)


def normal_like(key: Key, tree: State) -> PyTree:
    """Independent standard normals, of `tree`'s structure, shapes and dtypes (floats only)."""
    return _draw(jax.random.normal, key, tree)


def _draw(sampler: Callable, key: Key, tree: State) -> PyTree:
    leaves, treedef = jax.tree.flatten(as_float_tree("tree", tree))
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten([sampler(k, a.shape, a.dtype) for k, a in zip(keys, leaves)])
