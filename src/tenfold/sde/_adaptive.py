"""Steps chosen by an estimate of their error, on one Brownian path."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.base import RESULTS
from tenfold.sde._adaptive_adjoint import adjoint, halves_of
from tenfold.sde._anytime import AbstractAnyTimeNoise, TimedBlocks
from tenfold.sde._backsolve import Backsolve
from tenfold.sde._flow import accumulate, zero_cost
from tenfold.sde._gradients import AbstractGradient
from tenfold.sde._march import Problem, Saved
from tenfold.sde._methods import AbstractMethod
from tenfold.sde._noise import AbstractNoise, Increment
from tenfold.sde._sde import SDE
from tenfold.sde._split import solver_with_gradient

RUNNING, SUCCESSFUL, STUCK, NONFINITE = range(4)


class Adaptive(eqx.Module):
    r"""Steps as long as a tolerance allows, for `sdesolve(..., steps=Adaptive(rtol, atol))`.

    A step is taken whole and in two halves; the halves are kept when

    $$e = \left\| \frac{z_{whole} - z_{halves}}{atol + rtol \max(|z_0|,|z|)} \right\|_{rms} \leq 1$$

    over the dimensions of a state, at its largest in the batch: all examples share their steps.
    The next step is $h \cdot safety \, e^{-(i + p) / q} \, e_{before}^{p / q}$ with q the strong
    order + 1/2. A rejected step asks the same Brownian path again. Each of `ts` is hit exactly.

    **Arguments:**

    - `rtol`, `atol`. `dt0`: the first step tried, by default a hundredth of the whole time.
    - `max_steps`: tries, accepted or rejected. When they don't suffice the result is
      `max_steps_reached`, and all that was not reached is nan.
    - `safety`, `shrink` and `grow` (bounds on the change of a step), `icoeff`, `pcoeff`: i and p.

    Schemes need strong order 1. One of order 1/2 (Euler-Maruyama with other than additive noise,
    any with general noise, or diagonal noise whose entries see each other) converges to a wrong
    limit when steps depend on the path (Gaines and Lyons 1997). The noise must know the path at any
    time: `DyadicNoise`, `VirtualBrownianTree`, `DiffraxNoise`; a key stands for a `DyadicNoise` of
    2^20 leaves. A step rejected though its halves are as short as the noise's resolution ends the
    solve: `dt_min_reached`, or `nonfinite`.

    The gradient is `Backsolve`'s: times of the accepted halves are kept, numbers only, and the
    adjoint is solved backwards over them. `path_cost` is integrated and not controlled.

    **Raises:** `ValueError` for tolerances or factors out of range; by `sdesolve`, for a scheme,
    a noise or a gradient that doesn't fit, and for `substeps`.

    **Cost:** three steps of the scheme a try; memory O(max_steps) numbers, not states.
    """

    rtol: int | float = eqx.field(static=True)
    atol: int | float = eqx.field(static=True)
    dt0: int | float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=4096)
    safety: int | float = eqx.field(static=True, default=0.9)
    shrink: int | float = eqx.field(static=True, default=0.2)
    grow: int | float = eqx.field(static=True, default=5.0)
    icoeff: int | float = eqx.field(static=True, default=0.3)
    pcoeff: int | float = eqx.field(static=True, default=0.4)

    def __check_init__(self) -> None:
        checks = {
            "rtol, atol >= 0, not both 0": min(self.rtol, self.atol) >= 0 < self.rtol + self.atol,
            "dt0 > 0": self.dt0 is None or self.dt0 > 0,
            "max_steps >= 1": self.max_steps >= 1,
            "0 < safety < 1": 0 < self.safety < 1,
            "0 < shrink < 1 < grow": 0 < self.shrink < 1 < self.grow,
            "icoeff + pcoeff > 0": self.icoeff + self.pcoeff > 0,
        }
        for says, holds in checks.items():
            if not holds:
                raise ValueError(f"Adaptive: {says} must hold, got {self}")


def check_adaptive(
    sde: SDE,
    method: AbstractMethod,
    noise: AbstractNoise,
    gradient: AbstractGradient | None,
    substeps: int,
) -> None:
    """**Raises:** `ValueError` when adaptive steps can't be taken with these."""
    if substeps != 1:
        raise ValueError(f"sde: `steps=Adaptive(...)` chooses substeps itself, got {substeps}")
    if method.orders[sde.noise] < 1:
        raise ValueError(
            f"sde: {type(method).__name__} has strong order {method.orders[sde.noise]:g} with "
            f"{sde.noise} noise; adaptive steps need order 1, or they converge to a wrong limit"
        )
    if sde.noise == "diagonal" and hasattr(sde.diffusion, "value_and_jacobian_diagonal"):
        raise ValueError(
            "sde: the diffusion has `value_and_jacobian_diagonal`, so its entries may depend on "
            "each other; adaptive steps need noise that commutes, or they converge to a wrong limit"
        )
    if not isinstance(noise, AbstractAnyTimeNoise):
        raise ValueError(
            f"sde: adaptive steps ask for the path at any time, {type(noise).__name__} knows it on "
            "its grid only; use DyadicNoise, VirtualBrownianTree or DiffraxNoise, or pass a key"
        )
    if gradient is not None and not isinstance(gradient, Backsolve):
        raise ValueError(
            f"sde: adaptive steps are differentiated by Backsolve(), not {type(gradient).__name__}"
        )


def solve_adaptively(problem: Problem, steps: Adaptive) -> tuple[Saved, RESULTS, dict[str, Any]]:
    """States at `ts` and the cost, how it went, and steps accepted and rejected.

    `problem.noise` is `TimedBlocks`, and its grid the times to hit.
    """

    def forward(problem: Problem) -> tuple[Any, Any]:
        end = _forward(problem, steps)
        done = end.code == SUCCESSFUL
        cost = end.reached.cost
        cost = None if cost is None else jnp.where(done, cost, jnp.nan)
        accepted = end.reached.accepted
        counts = (end.code, accepted, end.rejected)
        return (end.zs, cost, counts), (end.zs, end.times, end.hits, accepted, done)

    (zs, cost, counts) = solver_with_gradient(forward, adjoint, problem)
    code, accepted, rejected = counts
    result = RESULTS.where(code == SUCCESSFUL, RESULTS.successful, RESULTS.max_steps_reached)
    result = RESULTS.where(code == STUCK, RESULTS.dt_min_reached, result)
    result = RESULTS.where(code == NONFINITE, RESULTS.nonfinite, result)
    return Saved(zs, cost), result, {"steps": accepted, "rejected": rejected}


class _Reached(NamedTuple):
    """By the steps accepted so far."""

    t: Array
    z: Array
    carried: Any
    cost: Array | None
    goal: Array
    """Index in `ts` of the next one."""
    error: Array
    """Of the last step."""
    accepted: Array


class _State(NamedTuple):
    reached: _Reached
    h: Array
    """The next step to try."""
    rejected: Array
    code: Array
    zs: Array
    times: Array
    """Ends of accepted steps; beyond them, of a step that wasn't."""
    hits: Array
    """Which of `ts` an accepted step ends at, or 0."""


class _Try(NamedTuple):
    after: _Reached
    error: Array
    hit: Array
    """Whether it ends at one of `ts`."""


def _forward(problem: Problem, steps: Adaptive) -> _State:
    goals = problem.grid.times.shape[0]

    def going(s: _State) -> Array:
        return (s.code == RUNNING) & (s.reached.accepted + s.rejected < steps.max_steps)

    def attempt(s: _State) -> _State:
        now, (after, error, hit) = s.reached, _attempt(problem, steps, s.reached, s.h)
        accept, h, i = error <= 1, after.t - now.t, now.accepted
        kept = jax.tree.map(lambda new, old: jnp.where(accept, new, old), after, now)
        stuck = ~accept & (h <= _shortest(problem) * 1.001)
        code = jnp.where(stuck, jnp.where(jnp.isfinite(error), STUCK, NONFINITE), RUNNING)
        code = jnp.where(kept.goal == goals, SUCCESSFUL, code)
        return _State(
            reached=kept,
            h=_next_length(problem, steps, s, h, error, accept),
            rejected=s.rejected + (~accept).astype(jnp.int32),
            code=code.astype(jnp.int32),
            zs=s.zs.at[now.goal].set(jnp.where(accept & hit, after.z, s.zs[now.goal])),
            times=s.times.at[i + 1].set(after.t),
            hits=s.hits.at[i].set(jnp.where(hit, now.goal, 0)),
        )

    return jax.lax.while_loop(going, attempt, _start(problem, steps))


def _start(problem: Problem, steps: Adaptive) -> _State:
    z, ts, method, zero = problem.z0, problem.grid.times, problem.method, jnp.int32(0)
    first = 0.01 * (ts[-1] - ts[0]) if steps.dt0 is None else jnp.asarray(steps.dt0, ts.dtype)
    carried = method.enter(problem.system, ts[0], method.start(z), _args(problem, zero))
    cost, one = zero_cost(problem.system, z), jnp.ones((), ts.dtype)
    return _State(
        reached=_Reached(ts[0], z, carried, cost, jnp.int32(1), one, zero),
        h=jnp.maximum(first, _shortest(problem)),
        rejected=zero,
        code=jnp.int32(RUNNING),
        zs=jnp.full((ts.shape[0], *z.shape), jnp.nan, z.dtype).at[0].set(z),
        times=jnp.full(steps.max_steps + 1, ts[0]),
        hits=jnp.zeros(steps.max_steps, jnp.int32),
    )


def _shortest(problem: Problem) -> Array:
    """The halves of a step should still see a rough path."""
    assert isinstance(problem.noise, TimedBlocks)
    return 2 * problem.noise.noise.resolution


def _args(problem: Problem, interval: Array) -> PyTree:
    return problem.args_of(jax.tree.map(lambda leaf: leaf[interval], problem.context))


def _attempt(problem: Problem, steps: Adaptive, now: _Reached, h: Array) -> _Try:
    system, method, args = problem.system, problem.method, _args(problem, now.goal - 1)
    t1, hit = _end(now.t, h, problem.grid.times[now.goal])
    middle = 0.5 * (now.t + t1)
    a, b = halves_of(problem, now.t, middle, t1)
    h0, h1 = middle - now.t, t1 - middle
    both = _both(a, b, h1)
    whole, _, _ = method.step(system, now.t, t1 - now.t, both, now.z, now.carried, args)
    z, grown, carried = method.step(system, now.t, h0, a, now.z, now.carried, args)
    z, more, carried = method.step(system, middle, h1, b, z, carried, args)
    error, goal = _error(steps, now.z, z, whole), now.goal + hit.astype(jnp.int32)
    carried = _renewed(problem, hit, t1, z, carried, goal - 1)
    cost = accumulate(accumulate(now.cost, grown), more)
    return _Try(_Reached(t1, z, carried, cost, goal, error, now.accepted + 1), error, hit)


def _end(t: Array, h: Array, goal: Array) -> tuple[Array, Array]:
    """Where a step of h leads, and whether that is the goal: no sliver is left before it."""
    left = goal - t
    hit = h >= left * 0.999
    return jnp.where(hit, goal, t + jnp.where(h > 0.5 * left, 0.5 * left, h)), hit


def _both(a: Increment, b: Increment, length: Array) -> Increment:
    """a, then b, which takes `length`."""
    area = None if a.area is None or b.area is None else a.area + b.area + length * a.w
    return Increment(a.w + b.w, area)


def _error(steps: Adaptive, before: Array, z: Array, whole: Array) -> Array:
    scale = steps.atol + steps.rtol * jnp.maximum(jnp.abs(before), jnp.abs(z))
    return jnp.max(jnp.sqrt(jnp.mean(((whole - z) / scale) ** 2, axis=-1)))


def _renewed(
    problem: Problem, hit: Array, t: Array, z: Array, carried: Any, interval: Array
) -> Any:
    """What the scheme carries, for the context of the next interval, or from its start anew."""
    method = problem.method
    if problem.context is None and not method.restarts:
        return carried

    def enter(carried: Any) -> Any:
        kept = method.start(z) if method.restarts else method.leave(carried)
        return method.enter(problem.system, t, kept, _args(problem, interval))

    return jax.lax.cond(hit, enter, lambda carried: carried, carried)


def _next_length(
    problem: Problem, steps: Adaptive, s: _State, h: Array, error: Array, accept: Array
) -> Array:
    q = problem.method.orders[problem.system.sde.noise] + 0.5
    # An error of 0, or not a number, must not poison the power.
    e = jnp.where(jnp.isfinite(error), jnp.maximum(error, 1e-10), jnp.inf)
    factor = steps.safety * e ** (-(steps.icoeff + steps.pcoeff) / q)
    factor = factor * jnp.maximum(s.reached.error, 1e-10) ** (steps.pcoeff / q)
    factor = jnp.clip(factor, steps.shrink, jnp.where(accept, steps.grow, steps.safety))
    # A step cut short by one of `ts` tells nothing against the longer one that was meant.
    longer = jnp.where(accept & (h < s.h), jnp.maximum(s.h, h * factor), h * factor)
    return jnp.maximum(longer, _shortest(problem))
