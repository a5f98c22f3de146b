"""The dyadic tree: one path at every level, in blocks, with its Levy area, and solves on it."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sde_problems import GBM

from helpers import Z_BOUND, assert_close, assert_unbiased
from tenfold import sde
from tenfold.sde import DyadicNoise, sdesolve
from tenfold.sde._grid import refined

LEVELS = 6


def make(key, shape=(3,), **options):
    return DyadicNoise(key, shape, 0.25, 1.25, LEVELS, **options)


def level_of(noise, level):
    """All increments of a level, by a solve's blocks."""
    times = jnp.linspace(0.25, 1.25, 2**level + 1, dtype=noise.dtype)
    blocks = noise.on(refined(times, 1, noise.dtype), area=noise.area)
    size = blocks.preferred
    runs = jax.vmap(lambda i: blocks(i * size, size))(jnp.arange(2**level // size, dtype=jnp.int32))
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), runs)


@pytest.mark.parametrize("area", [False, True])
def test_increments_of_a_level_sum_to_the_coarser_one(area, getkey, x64):
    """w adds up, and the time integrals are those of the two halves one after the other."""
    noise = make(getkey(), area=area)
    levels = jax.jit(lambda: [level_of(noise, level) for level in range(LEVELS + 1)])()
    for level, (coarse, fine) in enumerate(itertools.pairwise(levels)):
        assert_close(fine.w[0::2] + fine.w[1::2], coarse.w, 1e-14)
        if area:
            half = 0.5**level / 2
            both = fine.area[0::2] + fine.area[1::2] + half * fine.w[0::2]
            assert_close(both, coarse.area, 1e-14)


@pytest.mark.bits
def test_blocks_of_any_size_are_the_same_bits_as_one_by_one(getkey):
    """`block` is a matter of speed: no bit depends on it, and `increment` agrees."""
    key = getkey()
    runs = [jax.jit(lambda b=b: level_of(make(key, block=b), LEVELS).w)() for b in (0, 3, 6)]
    noise = make(key)
    one = jax.jit(jax.vmap(lambda i: noise.increment(LEVELS, i).w))
    runs.append(one(jnp.arange(2**LEVELS, dtype=jnp.int32)))
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])


def test_two_halves_have_independent_increments_and_levy_areas(getkey):
    """w1, w2 of variance h / 2, H1, H2 of variance h / 24, all uncorrelated."""
    noise = DyadicNoise(getkey(), (20000,), 0.0, 1.0, 1, area=True)
    halves = [noise.increment(1, i) for i in range(2)]
    levies = [half.area / 0.5 - 0.5 * half.w for half in halves]
    drawn = np.asarray([half.w for half in halves] + levies, np.float64)
    for x, variance in zip(drawn, (0.5, 0.5, 1 / 24, 1 / 24)):
        assert_unbiased(x**2, variance)
    correlations = np.corrcoef(drawn)[np.triu_indices(4, 1)] * np.sqrt(drawn.shape[1])
    assert np.abs(correlations).max() < Z_BOUND


def test_time_integrals_between_any_times_are_those_of_the_path(getkey, x64):
    """Against the trapezium rule on `value`, and by joining two stretches."""
    noise = make(getkey(), area=True)
    s, m, t = 0.3, 0.61, 1.13
    between = jax.jit(lambda s, t: noise.between(s, t, area=True))
    whole, first, second = between(s, t), between(s, m), between(m, t)
    joined = first.area + second.area + (t - m) * first.w
    assert_close(joined, whole.area, 1e-14)
    grid = jnp.linspace(s, t, 4001)
    values = jax.jit(jax.vmap(noise.value))(grid) - noise.value(s)[None]
    assert_close(np.trapezoid(values, grid, axis=0), np.asarray(whole.area), 1e-6)


def test_inside_a_leaf_the_path_is_its_mean(getkey, x64):
    """Linear without the Levy area; with it the parabola x w + 6 x (1 - x) H."""
    for area in (False, True):
        noise = make(getkey(), area=area)
        start, h = 0.25 + 5 / 64, 1 / 64
        leaf = noise.increment(LEVELS, 5)
        for x in (0.25, 0.6):
            bend = 6 * x * (1 - x) * (leaf.area / h - leaf.w / 2) if area else 0
            inside = noise.between(start, start + x * h).w
            assert_close(inside, x * leaf.w + bend, 1e-12)


def test_short_increments_keep_their_precision(getkey):
    """In float32 a step of 2^-20 is right to its own size, not to that of W."""
    noise, i = DyadicNoise(getkey(), (1000,), 0.0, 1.0, 20), 734_003
    w = jax.jit(lambda: noise.between((i + 0.5) / 2**20, (i + 1.5) / 2**20).w)()
    leaves = jax.jit(lambda: [noise.increment(20, j).w for j in (i, i + 1)])()
    assert float(jnp.std(w)) < 1e-3
    assert_close(w, 0.5 * (leaves[0] + leaves[1]), 1e-9)


def test_a_run_that_starts_off_its_length_is_nan(getkey):
    """A power of two of steps from elsewhere isn't a subtree: nan, never other numbers."""
    noise = make(getkey())
    blocks = noise.on(refined(jnp.linspace(0.25, 1.25, 65), 1, noise.dtype), area=False)
    assert np.isnan(blocks(2, 4).w).all()


def test_grids_that_are_not_dyadic_are_refused(getkey):
    """Uneven, not a power of two, too fine, or over another interval: one message."""
    noise = make(getkey())
    grids = [
        jnp.asarray([0.25, 0.5, 1.25]),
        jnp.linspace(0.25, 1.25, 4),
        jnp.linspace(0.25, 1.25, 129),
        jnp.linspace(0.25, 0.75, 5),
        jnp.linspace(0.25, 1.5, 5),
    ]
    for times in grids:
        with pytest.raises(ValueError, match=r"must take 2\^l equal steps, l <= 6, from 0\.25 to"):
            noise.on(refined(times, 1, noise.dtype), area=False)
    with pytest.raises(ValueError, match="`area=True`"):
        noise.on(refined(jnp.linspace(0.25, 1.25, 5), 1, noise.dtype), area=True)
    with pytest.raises(ValueError, match="`area=True`"):
        noise.between(0.5, 0.6, area=True)
    with pytest.raises(ValueError, match="`level` must be from 0 to 6"):
        noise.increment(7, 0)


def test_a_solve_refuses_a_noise_of_another_shape_or_dtype(getkey, x64):
    """Both shapes and dtypes are named."""
    key, ts, z0 = getkey(), jnp.linspace(0.25, 1.25, 5), GBM.start()
    for noise in (make(key, (2,)), make(key, (1,), dtype=jnp.float32)):
        with pytest.raises(ValueError, match="the Brownian motion must be"):
            sdesolve(GBM.sde(), z0, ts, noise)


METHODS = [
    (sde.EulerMaruyama(), 0.5),
    (sde.Milstein(), 1.0),
    (sde.Heun(), 1.0),
    (sde.Midpoint(), 1.0),
    (sde.EulerHeun(), 1.0),
    (sde.ReversibleHeun(), 1.0),
]


@pytest.mark.parametrize(("method", "order"), METHODS, ids=lambda x: type(x).__name__)
def test_every_scheme_nears_the_exact_solution_of_one_path(method, order, getkey, x64):
    """From 2^5 to 2^9 steps of the same path the error falls as the scheme's order says."""
    noise = DyadicNoise(getkey(), (200, 1), 0.0, 1.0, 9)
    z0, problem = GBM.start(200), GBM.sde()

    @jax.jit
    def errors():
        exact = GBM.exact(problem, z0, 1.0, noise.value(1.0), None)
        ends = [
            sdesolve(problem, z0, jnp.asarray([0.0, 1.0]), noise, method=method, substeps=n).zs[-1]
            for n in (32, 512)
        ]
        return jnp.stack([jnp.sqrt(jnp.mean((end - exact) ** 2)) for end in ends])

    coarse, fine = errors()
    assert abs(np.log2(coarse / fine) / 4 - order) < 0.15


@pytest.mark.parametrize("area", [False, True])
def test_odd_chunks_and_contexts_see_the_same_path(area, getkey, x64):
    """Checkpoints every 3 or 5 steps, and intervals of 4 steps with a context, change nothing."""
    noise = make(getkey(), (1,), area=area)
    method = sde.SRK() if area else sde.Heun()
    z0, ts = GBM.start(), jnp.linspace(0.25, 1.25, 9)

    def end(gradient, context=None):
        problem = GBM.sde() if context is None else _with_context(GBM.sde())
        solved = sdesolve(
            problem, z0, ts, noise, method=method, substeps=4, gradient=gradient, context=context
        )
        return solved.zs

    whole = jax.jit(lambda: end(sde.Store()))()
    for gradient in (sde.Checkpoint(3), sde.Checkpoint(5), sde.Checkpoint()):
        assert_close(jax.jit(lambda g=gradient: end(g))(), whole, 1e-13)
    assert_close(jax.jit(lambda: end(sde.Checkpoint(3), jnp.zeros(8)))(), whole, 1e-13)


class _Ignoring(eqx.Module):
    """A field that is given (args, context) and needs neither."""

    field: eqx.Module

    def __call__(self, t, z, args):
        return self.field(t, z, args[0])


def _with_context(problem):
    return sde.SDE(
        _Ignoring(problem.drift),
        _Ignoring(problem.diffusion),
        noise=problem.noise,
        kind=problem.kind,
    )
