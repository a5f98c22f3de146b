"""Diffrax's solvers on our noises, our solver on Diffrax's terms and paths."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from sde_problems import GBM

from helpers import assert_close
from tenfold import sde
from tenfold.sde import (
    SDE,
    DiffraxNoise,
    DyadicNoise,
    GridNoise,
    VirtualBrownianTree,
    as_diffrax,
    from_diffrax,
    sdesolve,
)

STEPS = 32


class Drift(eqx.Module):
    rate: jax.Array

    def __call__(self, t, z, args):
        return self.rate * jnp.sin(z) + jnp.cos(t)


class Diffusion(eqx.Module):
    """Of the shape that each noise type wants, for d = 2 and m = 3."""

    scale: jax.Array
    noise: str = eqx.field(static=True)

    def __call__(self, t, z, args):
        g = self.scale * (1 + 0.3 * jnp.sin(z + t))
        if self.noise in ("diagonal", "scalar"):
            return g
        constant = self.scale * jnp.asarray([[1.0, 0.5, 0.2], [0.1, -0.4, 0.8]])
        if self.noise == "additive":
            return jnp.broadcast_to((1 + t) * constant, (*z.shape, 3))
        return g[..., None] * jnp.broadcast_to(constant, (*z.shape, 3))


def equation(noise, kind):
    scale, rate = jnp.asarray(0.4), jnp.asarray(0.7)
    return SDE(Drift(rate), Diffusion(scale, noise), noise=noise, kind=kind)


SHAPES = {"diagonal": (2,), "scalar": (), "additive": (3,), "general": (3,)}
PATHS = {
    "diagonal": lambda key, shape: DyadicNoise(key, shape, 0.0, 1.0, 8),
    "scalar": lambda key, shape: GridNoise(key, shape, 0.0, 1.0, STEPS),
    "additive": lambda key, shape: DyadicNoise(key, shape, 0.0, 1.0, 5, area=True),
    "general": lambda key, shape: VirtualBrownianTree(key, shape, 0.0, 1.0, 1e-3),
}
SOLVERS = [
    (dfx.Euler(), sde.EulerMaruyama(), "ito"),
    (dfx.Heun(), sde.Heun(), "stratonovich"),
    (dfx.ReversibleHeun(), sde.ReversibleHeun(), "stratonovich"),
]


def diffrax_end(problem, path, solver, z0, steps=STEPS):
    """z(1) by `diffeqsolve`."""
    terms = as_diffrax(problem, path)
    grid = dfx.StepTo(ts=jnp.linspace(0.0, 1.0, steps + 1))
    solved = dfx.diffeqsolve(
        terms,
        solver,
        0.0,
        1.0,
        None,
        z0,
        stepsize_controller=grid,
        adjoint=dfx.DirectAdjoint(),
        throw=False,
    )
    return solved.ys[0]


def our_end(problem, path, method, z0, steps=STEPS):
    ts = jnp.asarray([0.0, 1.0])
    return sdesolve(problem, z0, ts, path, method=method, substeps=steps).zs[-1]


@pytest.mark.parametrize("noise", PATHS)
@pytest.mark.parametrize(("theirs", "ours", "kind"), SOLVERS, ids=["Euler", "Heun", "RevHeun"])
def test_diffrax_takes_the_same_steps_on_the_same_path(noise, theirs, ours, kind, getkey, x64):
    """Where the scheme is the same, both solvers agree to 1e-12."""
    problem, path = equation(noise, kind), PATHS[noise](getkey(), SHAPES[noise])
    z0 = jnp.asarray([0.3, -0.2])
    run = jax.jit(
        lambda z0: (diffrax_end(problem, path, theirs, z0), our_end(problem, path, ours, z0))
    )
    assert_close(*run(z0), 1e-12)


@pytest.mark.parametrize("noise", ["scalar", "general"])
def test_a_batch_goes_through_diffrax_as_one_state(noise, getkey, x64):
    """Each example with its own Brownian motion; the operator knows its matrix and transpose."""
    path = VirtualBrownianTree(getkey(), (4, *SHAPES[noise]), 0.0, 1.0, 1e-3)
    problem = equation(noise, "stratonovich")
    z0 = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)
    ends = jax.jit(
        lambda z0: (
            diffrax_end(problem, path, dfx.Heun(), z0, 8),
            our_end(problem, path, sde.Heun(), z0, 8),
        )
    )(z0)
    assert_close(*ends, 1e-12)
    operator = as_diffrax(problem, path).terms[1].vf(0.0, z0, None)
    w = jnp.linspace(0.0, 1.0, path.evaluate(1.0).size).reshape(path.shape)
    assert_close(operator.as_matrix() @ w.ravel(), operator.mv(w).ravel(), 1e-14)
    assert_close(operator.T.mv(z0).ravel(), operator.as_matrix().T @ z0.ravel(), 1e-14)


@pytest.mark.parametrize("noise", ["diagonal", "scalar"])
@pytest.mark.parametrize("kind", ["ito", "stratonovich"])
def test_milstein_is_diffrax_milstein(noise, kind, getkey, x64):
    """Both calculi; Diffrax works with the whole Jacobian, we with one product."""
    solver = dfx.ItoMilstein() if kind == "ito" else dfx.StratonovichMilstein()
    problem, path = equation(noise, kind), PATHS[noise](getkey(), SHAPES[noise])
    z0 = jnp.asarray([0.3, -0.2])
    run = jax.jit(
        lambda z0: (
            diffrax_end(problem, path, solver, z0),
            our_end(problem, path, sde.Milstein(), z0),
        )
    )
    assert_close(*run(z0), 1e-12)


@pytest.mark.parametrize(
    ("noise", "solver"),
    [
        ("additive", dfx.ShARK()),
        ("additive", dfx.SRA1()),
        ("diagonal", dfx.SlowRK()),
        ("diagonal", dfx.SPaRK()),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_solvers_with_levy_area_run_on_a_dyadic_noise(noise, solver, getkey, x64):
    """They near the same solution as our SRK with many steps: the Levy area is the right one."""
    path = DyadicNoise(getkey(), SHAPES[noise], 0.0, 1.0, 8, area=True)
    problem, z0 = equation(noise, "stratonovich"), jnp.asarray([0.3, -0.2])
    run = jax.jit(
        lambda z0: (
            diffrax_end(problem, path, solver, z0, 64),
            our_end(problem, path, sde.SRK(), z0, 256),
        )
    )
    assert_close(*run(z0), 1e-3)


def test_levy_area_makes_diffrax_more_accurate(getkey, x64):
    """A wrong H would leave ShARK at order 1: from 16 to 128 steps its error falls 20 times."""
    path = DyadicNoise(getkey(), (100, 3), 0.0, 1.0, 10, area=True)
    problem = equation("additive", "stratonovich")
    z0 = jnp.zeros((100, 2))
    run = jax.jit(
        lambda z0: [
            *(diffrax_end(problem, path, dfx.ShARK(), z0, n) for n in (16, 128)),
            our_end(problem, path, sde.SRK(), z0, 1024),
        ]
    )
    coarse, fine, exact = run(z0)
    errors = [float(jnp.sqrt(jnp.mean((x - exact) ** 2))) for x in (coarse, fine)]
    assert errors[1] < errors[0] / 20


class TestFromDiffrax:
    def test_there_and_back_is_the_same_equation(self, getkey):
        """`from_diffrax(as_diffrax(...))` gives the very objects."""
        problem, path = equation("diagonal", "ito"), PATHS["diagonal"](getkey(), (2,))
        back, noise = from_diffrax(as_diffrax(problem, path), noise="diagonal", kind="ito")
        assert back is problem
        assert noise is path

    @pytest.mark.parametrize("noise", SHAPES)
    def test_terms_written_for_diffrax_are_solved_the_same(self, noise, getkey, x64):
        """Arrays or Lineax operators, on Diffrax's own tree, with Euler's scheme."""
        field = Diffusion(jnp.asarray(0.4), noise)

        def diffusion(t, y, args):
            g = field(t, y, args)
            if noise == "diagonal":
                return lx.DiagonalLinearOperator(g)
            return lx.MatrixLinearOperator(g) if noise == "general" else g

        tree = dfx.VirtualBrownianTree(0.0, 1.0, 1e-3, SHAPES[noise], getkey())
        drift = dfx.ODETerm(Drift(jnp.asarray(0.7)))
        terms = dfx.MultiTerm(drift, dfx.ControlTerm(diffusion, tree))
        z0, ts = jnp.asarray([0.3, -0.2]), jnp.linspace(0.0, 1.0, 17)

        @jax.jit
        def both(z0):
            problem, path = from_diffrax(terms, noise=noise, kind="ito")
            ours = sdesolve(problem, z0, ts, path, method=sde.EulerMaruyama()).zs[-1]
            theirs = dfx.diffeqsolve(
                terms,
                dfx.Euler(),
                0.0,
                1.0,
                None,
                z0,
                stepsize_controller=dfx.StepTo(ts=ts),
                throw=False,
            )
            return ours, theirs.ys[0]

        assert_close(*both(z0), 1e-12)

    def test_what_it_can_not_read_is_refused(self, getkey):
        """Other terms, other controls, another noise type than the diffusion shows."""
        drift = dfx.ODETerm(lambda t, y, args: -y)
        tree = dfx.VirtualBrownianTree(0.0, 1.0, 1e-2, (2,), getkey())
        full = dfx.ControlTerm(lambda t, y, args: jnp.eye(2), tree)
        line = dfx.LinearInterpolation(jnp.arange(2.0), jnp.zeros((2, 2)))
        smooth = dfx.ControlTerm(full.vector_field, line)
        own = as_diffrax(equation("diagonal", "ito"), PATHS["diagonal"](getkey(), (2,)))
        cases = [
            (drift, "diagonal", "expected MultiTerm.*got ODETerm"),
            (dfx.MultiTerm(drift), "diagonal", "expected MultiTerm.*got ODETerm"),
            (dfx.MultiTerm(drift, smooth), "diagonal", "must be a Brownian path, got Linear"),
            (own, "general", "came from an equation with diagonal noise"),
        ]
        for terms, noise, says in cases:
            with pytest.raises(ValueError, match=says):
                from_diffrax(terms, noise=noise, kind="ito")
        problem, path = from_diffrax(dfx.MultiTerm(drift, full), noise="diagonal", kind="ito")
        with pytest.raises(ValueError, match="with diagonal noise the diffusion must return"):
            sdesolve(problem, jnp.zeros(2), jnp.asarray([0.0, 1.0]), path)


class TestDiffraxNoise:
    def test_increments_and_time_integrals_are_the_path_s(self, getkey, x64):
        """w as by `evaluate`, area = h (w / 2 + H)."""
        tree = dfx.VirtualBrownianTree(0.0, 1.0, 1e-3, (3,), getkey(), dfx.SpaceTimeLevyArea)
        noise = DiffraxNoise(tree, (3,))
        step = noise.between(0.25, 0.625, area=True)
        theirs = tree.evaluate(0.25, 0.625, use_levy=True)
        assert_close(step.w, theirs.W, 1e-14)
        assert_close(step.area, 0.375 * (theirs.W / 2 + theirs.H), 1e-14)

    def test_srk_and_adaptive_steps_run_on_a_tree_with_levy_area(self, getkey, x64):
        """Both near the closed form of geometric Brownian motion."""
        tree = dfx.VirtualBrownianTree(0.0, 1.0, 2e-3, (5, 1), getkey(), dfx.SpaceTimeLevyArea)
        noise, problem, z0 = DiffraxNoise(tree), GBM.sde(), GBM.start(5)
        exact = GBM.exact(problem, z0, 1.0, tree.evaluate(1.0), None)
        ts = jnp.asarray([0.0, 1.0])

        @jax.jit
        def ends(z0):
            fixed = sdesolve(problem, z0, ts, noise, method=sde.SRK(), substeps=128)
            steps = sde.Adaptive(1e-5, 1e-5)
            chosen = sdesolve(problem, z0, ts, noise, method=sde.SRK(), steps=steps)
            return fixed.zs[-1], chosen.zs[-1]

        for end in ends(z0):
            assert_close(end, exact, 2e-4)

    def test_what_it_can_not_serve_is_refused(self, getkey):
        """Several arrays, another shape, no Levy area, and a path that isn't one path."""
        key, ts = getkey(), jnp.asarray([0.0, 1.0])
        two = (jax.ShapeDtypeStruct((2,), jnp.float32),) * 2
        with pytest.raises(ValueError, match="must give one array"):
            DiffraxNoise(dfx.VirtualBrownianTree(0.0, 1.0, 0.1, two, key))
        tree = dfx.VirtualBrownianTree(0.0, 1.0, 0.1, (1,), key)
        with pytest.raises(ValueError, match=r"`shape` is \(2,\), the path's is \(1,\)"):
            DiffraxNoise(tree, (2,))
        z0 = jnp.ones(1)
        with pytest.raises(ValueError, match="levy_area=diffrax"):
            sdesolve(_gbm32(), z0, ts, DiffraxNoise(tree), method=sde.SRK())
        unsafe = DiffraxNoise(dfx.UnsafeBrownianPath((1,), key))
        assert np.isfinite(sdesolve(_gbm32(), z0, ts, unsafe, substeps=4).zs).all()
        with pytest.raises(ValueError, match="UnsafeBrownianPath draws another path"):
            sdesolve(_gbm32(), z0, ts, unsafe, steps=sde.Adaptive(1e-2, 1e-2))


def _gbm32():
    return SDE(lambda t, z, a: 0.1 * z, lambda t, z, a: 0.3 * z, noise="diagonal", kind="ito")
