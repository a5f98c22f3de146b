"""Schemes: their strong orders, for values and for gradients, and which noise they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde.sde_problems import (
    ARCTAN,
    ARCTAN_STRATONOVICH,
    GBM,
    GENERAL,
    NONCOMMUTING,
    OU,
    ROOT,
    SCALAR,
    SCALAR_STRATONOVICH,
)
from tenfold import sde

SCHEMES = (
    sde.EulerMaruyama,
    sde.Milstein,
    sde.Heun,
    sde.Midpoint,
    sde.EulerHeun,
    sde.ReversibleHeun,
)
TOLERANCE = 0.1
NS = (16, 64, 256)


def expected_order(problem, scheme):
    """The scheme's table says it for noise of this type; noise that commutes does better than
    `general` promises, for schemes with a second stage."""
    noise = problem.sde().noise
    if noise == "general" and problem.commutes and scheme is not sde.EulerMaruyama:
        return 1.0
    return scheme.orders[noise]


def cases(*problems):
    return [
        pytest.param(p, s, id=f"{p.name}-{s.__name__}")
        for p in problems
        for s in SCHEMES
        if p.sde().noise in s.orders
    ]


def options(problem, scheme, **changed):
    common = {
        "method": scheme(),
        "exact": problem.exact,
        "args": problem.parameters(),
        "ns": NS,
        "finer": 8,
        "key": jax.random.key(3),
    }
    return {**common, **changed}


def check_value(problem, scheme, **changed):
    found = sde.strong_order(problem.sde(), problem.start(), **options(problem, scheme, **changed))
    assert abs(float(found.slope) - expected_order(problem, scheme)) < TOLERANCE


def check_gradient(problem, scheme, **changed):
    found = sde.gradient_order(
        problem.sde(), problem.start(), **options(problem, scheme, **changed)
    )
    assert abs(float(found.slope) - expected_order(problem, scheme)) < TOLERANCE


@pytest.mark.parametrize(("problem", "scheme"), cases(GBM, NONCOMMUTING, OU))
def test_a_scheme_converges_at_its_strong_order(problem, scheme, x64):
    """Diagonal, general and additive noise; slope over N = 16, 64, 256 on 400 paths."""
    check_value(problem, scheme)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "scheme"),
    cases(ARCTAN, ARCTAN_STRATONOVICH, SCALAR, SCALAR_STRATONOVICH, GENERAL),
)
def test_a_scheme_converges_at_its_strong_order_on_more_problems(problem, scheme, x64):
    """Nonlinear, scalar, and general noise that commutes; both calculi."""
    check_value(problem, scheme)


@pytest.mark.parametrize(
    ("problem", "scheme"),
    [(GBM, sde.Milstein), (GBM, sde.ReversibleHeun), (NONCOMMUTING, sde.ReversibleHeun)],
    ids=["gbm-Milstein", "gbm-ReversibleHeun", "general-ReversibleHeun"],
)
def test_the_gradient_along_a_path_converges_at_the_schemes_order(problem, scheme, x64):
    check_gradient(problem, scheme)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "scheme"), cases(GBM))
def test_value_and_gradient_of_gbm_converge_at_the_schemes_order_to_n_1024(problem, scheme, x64):
    """N = 16 .. 1024, gradients in the drift's and the diffusion's rate and in z0."""
    check_value(problem, scheme, ns=(16, 64, 256, 1024))
    check_gradient(problem, scheme, ns=(16, 64, 256, 1024))


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "scheme"), cases(SCALAR, GENERAL, NONCOMMUTING, OU))
def test_the_gradient_converges_at_the_schemes_order_on_more_problems(problem, scheme, x64):
    check_gradient(problem, scheme)


@pytest.mark.parametrize("scheme", [sde.Heun, sde.Midpoint, sde.ReversibleHeun])
def test_noise_that_depends_on_time_only_is_solved_at_order_one_or_better(scheme, x64):
    """The 1/sqrt(1 + t) problem: these show order 2, more than they promise."""
    found = sde.strong_order(ROOT.sde(), ROOT.start(), **options(ROOT, scheme))
    assert float(found.slope) > 0.9


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_calculi_agree_for_additive_noise(scheme, x64):
    """The same numbers: there is nothing to correct."""
    ito = OU.sde()
    stratonovich = sde.SDE(ito.drift, ito.diffusion, noise="additive", kind="stratonovich")
    solved = [
        sde.sdesolve(
            equation,
            OU.start(),
            jnp.array([0.0, 1.0]),
            jax.random.key(0),
            method=scheme(),
            substeps=8,
        ).zs
        for equation in (ito, stratonovich)
    ]
    np.testing.assert_array_equal(*solved)


@pytest.mark.parametrize("scheme", [sde.Milstein, sde.SRK])
def test_a_scheme_that_does_not_fit_the_noise_is_refused_with_those_that_do(scheme):
    with pytest.raises(ValueError, match=rf"{scheme.__name__} is for diagonal.*general.*Heun \("):
        sde.sdesolve(
            NONCOMMUTING.sde(),
            jnp.ones(2),
            jnp.array([0.0, 1.0]),
            jax.random.key(0),
            method=scheme(),
        )
