"""Mistakes that can be seen while tracing: one clear message each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde.sde_problems import GBM, OU, Scaled
from tenfold import sde

TS = jnp.array([0.0, 0.5, 1.0])
KEY = jax.random.key(0)


def solve(equation=None, z0=None, ts=TS, noise=KEY, **options):
    z0 = jnp.ones(2) if z0 is None else z0
    return sde.sdesolve(GBM.sde() if equation is None else equation, z0, ts, noise, **options)


def equation(drift=None, diffusion=None, noise="diagonal"):
    drift = Scaled(jnp.float32(0.1)) if drift is None else drift
    diffusion = Scaled(jnp.float32(0.1)) if diffusion is None else diffusion
    return sde.SDE(drift, diffusion, noise=noise, kind="ito")


def wide(t, z, args):
    return jnp.ones((*z.shape, 3))


BAD = {
    "times that fall": (
        {"ts": jnp.array([0.0, 1.0, 0.5])},
        r"`ts` must increase; ts\[1\] = 1.0, ts\[2\] = 0.5",
    ),
    "times that repeat": ({"ts": jnp.array([0.0, 0.0])}, r"ts\[0\] = 0.0, ts\[1\] = 0.0"),
    "one time": ({"ts": jnp.array([0.0])}, r"at least two times, got \(1,\)"),
    "times that are not finite": ({"ts": jnp.array([0.0, np.nan])}, "`ts` must"),
    "no substeps": ({"substeps": 0}, "`substeps` must be at least 1, got 0"),
    "start not finite": ({"z0": jnp.array([1.0, np.nan])}, r"`z0` is not finite at index \[1\]"),
    "start of integers": ({"z0": jnp.ones(2, jnp.int32)}, "floating-point array, got int32"),
    "start without an axis": ({"z0": jnp.asarray(1.0)}, r"axis of dimensions.*got \(\)"),
    "drift of another shape": (
        {"equation": equation(drift=lambda t, z, a: z[..., :1])},
        r"drift has shape \(1,\), the state \(2,\)",
    ),
    "drift of another dtype": (
        {"equation": equation(drift=lambda t, z, a: z.astype(jnp.float16))},
        "drift is float16, the state float32",
    ),
    "drift of no array": (
        {"equation": equation(drift=lambda t, z, a: [z])},
        "drift must return one",
    ),
    "diagonal diffusion that is a matrix": (
        {"equation": equation(diffusion=wide)},
        r"diagonal noise and a state \(2,\) .* shape \(2,?\).*, got \(2, 3\)",
    ),
    "scalar diffusion that is a matrix": (
        {"equation": equation(diffusion=wide, noise="scalar")},
        r"scalar noise.*got \(2, 3\)",
    ),
    "general diffusion that is a vector": (
        {"equation": equation(noise="general")},
        r"general noise .* shape \(2, m\), got \(2,\)",
    ),
    "additive diffusion that is a vector": (
        {"equation": equation(noise="additive")},
        r"additive noise .* shape \(2, m\), got \(2,\)",
    ),
    "context too short": (
        {"context": jnp.ones((3, 4))},
        r"one entry for each of the 2 intervals of `ts`, got a leaf of shape \(3, 4\)",
    ),
    "context without an axis": ({"context": jnp.asarray(1.0)}, r"got a leaf of shape \(\)"),
    "noise of another shape": (
        {"noise": sde.GridNoise(KEY, (3,), 0.0, 1.0, 2)},
        r"must be float32\[2\], `noise` is float32\[3\]",
    ),
    "noise of another dtype": (
        {"noise": sde.GridNoise(KEY, (2,), 0.0, 1.0, 2, dtype=jnp.float16)},
        r"must be float32\[2\], `noise` is float16\[2\]",
    ),
    "times off the noise's grid": (
        {"noise": sde.GridNoise(KEY, (2,), 0.0, 1.0, 2), "ts": jnp.array([0.0, 0.4, 1.0])},
        "not on the grid of the noise",
    ),
    "more steps than the noise has": (
        {"noise": sde.GridNoise(KEY, (2,), 0.0, 1.0, 2), "substeps": 2},
        "4 steps that are not on the grid of the noise, which has 2",
    ),
    "a cost of the wrong shape": (
        {"path_cost": lambda t, z, f, g, a: z},
        r"`path_cost` must return float32\[\], one rate an example, got float32\[2\]",
    ),
    "Exact with another scheme": (
        {"gradient": sde.Exact(), "method": sde.Heun()},
        "only ReversibleHeun can be undone, not Heun; use Checkpoint",
    ),
    "anchors that don't divide the steps": (
        {"gradient": sde.Exact(anchor_every=3), "substeps": 2},
        "`anchor_every` = 3 must divide the 2 steps of a run",
    ),
    "no anchors": ({"gradient": sde.Exact(anchor_every=0)}, "at least 1, got 0"),
    "no checkpoints": ({"gradient": sde.Checkpoint(every=0)}, "at least 1 step, got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_one_clear_message(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        solve(**options)


@pytest.mark.parametrize("case", ["start without an axis", "context too short", "no substeps"])
def test_bad_input_is_refused_under_jit_too(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda: solve(**options).zs)()


RECORDED = {
    "too few": ((3,), (1,), None, "2 steps need as many increments"),
    "area of another shape": ((3,), (2,), (1,), "area .* must be as w"),
}


@pytest.mark.parametrize("case", RECORDED)
def test_increments_that_do_not_fit_their_times_are_refused(case):
    times, w, area, message = RECORDED[case]
    area = None if area is None else jnp.ones(area)
    with pytest.raises(ValueError, match=message):
        sde.RecordedNoise(jnp.arange(times[0], dtype=jnp.float32), jnp.ones(w), area=area)


def test_recorded_noise_refuses_times_that_fall_and_area_that_it_lacks():
    with pytest.raises(ValueError, match="must increase"):
        sde.RecordedNoise(jnp.array([0.0, 1.0, 0.5]), jnp.ones(2))
    noise = sde.RecordedNoise(TS, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="needs `area`"):
        solve(OU.sde(), noise=noise, method=sde.SRK())
    with pytest.raises(ValueError, match="not on the grid"):
        solve(OU.sde(), noise=noise, substeps=3)


def test_numbers_of_steps_that_do_not_divide_each_other_are_refused():
    with pytest.raises(ValueError, match="each a multiple of the one before"):
        sde.strong_order(GBM.sde(), jnp.ones(1), method=sde.Heun(), ns=(16, 24), key=KEY)
