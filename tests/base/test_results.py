import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import optimistix
import pytest

from tenfold.base import RESULTS, from_diffrax, is_okay, raise_if_bad

OURS = ("nonfinite", "diverged", "max_steps_reached", "dt_min_reached", "nonlinear_divergence")


@functools.partial(jax.jit, static_argnums=1)
def solve(y0, max_steps=256):
    term = diffrax.ODETerm(lambda t, y, args: -y)
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    return diffrax.diffeqsolve(
        term,
        diffrax.Heun(),
        0.0,
        1.0,
        0.1,
        y0,
        stepsize_controller=controller,
        max_steps=max_steps,
        throw=False,
    )


def mixed(x):
    """successful where x < 1, nonfinite below 2, diverged above."""
    result = RESULTS.where(x < 2, RESULTS.nonfinite, RESULTS.diverged)
    return RESULTS.where(x < 1, RESULTS.successful, result)


def test_nothing_is_raised_if_all_went_well():
    raise_if_bad(RESULTS.successful)
    raise_if_bad(RESULTS.event_occurred)
    raise_if_bad(jax.vmap(mixed)(jnp.zeros(3)))
    raise_if_bad(solve(jnp.ones(2)).result)


@pytest.mark.parametrize("name", OURS)
def test_each_failure_is_raised_with_its_causes_and_a_fix(name):
    result = getattr(RESULTS, name)
    with pytest.raises(RuntimeError, match="Likely causes") as error:
        raise_if_bad(result)
    assert str(error.value) == RESULTS[result]


def test_an_array_of_results_says_how_many_failed_of_what_and_where():
    result = eqx.filter_jit(eqx.filter_vmap(mixed))(jnp.array([0.0, 2.0, 1.0, 2.0, 0.0]))
    with pytest.raises(RuntimeError, match="3 of 5 solves failed") as error:
        raise_if_bad(result)
    head, most, least = str(error.value).split("\n")
    assert head.endswith("the first is at index (1,).")
    assert most.startswith("  2 of 5: The iteration moved away")
    assert least.startswith("  1 of 5: A value became nan")


def test_results_of_nested_vmaps_are_counted_in_full():
    result = jax.vmap(jax.vmap(mixed))(jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(RuntimeError, match=r"1 of 6 solves failed; the first is at index \(1, 2\)"):
        raise_if_bad(result)


def test_a_solve_that_runs_out_of_steps_is_reported_in_our_words():
    result = solve(jnp.ones(2), max_steps=2).result
    assert from_diffrax(result) == RESULTS.max_steps_reached
    with pytest.raises(RuntimeError, match="raise `max_steps`"):
        raise_if_bad(result)


@pytest.mark.parametrize("library", [lineax, optimistix, diffrax])
def test_every_result_of_the_solver_libraries_keeps_its_name(library):
    for name, item in library.RESULTS._name_to_item.items():
        assert from_diffrax(item) == getattr(RESULTS, name)
        assert bool(is_okay(item)) == (name in ("successful", "event_occurred"))


def test_conversion_works_inside_compiled_and_mapped_code():
    @jax.jit
    @jax.vmap
    def run(y0):
        return from_diffrax(solve(y0, max_steps=2).result)

    result = run(jnp.ones((3, 2)))
    assert not is_okay(result).any()
    with pytest.raises(RuntimeError, match="3 of 3 solves failed"):
        raise_if_bad(result)
    assert isinstance(from_diffrax(result), RESULTS)


def test_okay_tells_the_good_from_the_bad_inside_compiled_code():
    okay = jax.jit(jax.vmap(lambda x: is_okay(mixed(x))))(jnp.array([0.0, 1.0, 2.0]))
    assert okay.tolist() == [True, False, False]


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap], ids=["jit", "vmap"])
def test_raising_inside_compiled_code_is_refused_with_the_way_out(transform):
    def run(x):
        raise_if_bad(mixed(x))
        return x

    with pytest.raises(ValueError, match="check it outside"):
        transform(run)(jnp.ones(3) if transform is jax.vmap else jnp.asarray(1.0))


def test_what_is_not_a_result_is_refused():
    class OTHER(eqx.Enumeration):
        fine = "fine"

    for wrong in (0, OTHER.fine):
        with pytest.raises(ValueError, match="promote"):
            from_diffrax(wrong)
