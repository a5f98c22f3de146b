"""Backward differentiation of orders 1 and 2 with variable steps, for stiff problems."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tenfold.base._checks import as_float_tree
from tenfold.hollow._history import History, began
from tenfold.hollow._multistep import AbstractMultistep, after_jump, hermite
from tenfold.hollow._stage import field_of, verdict


class Past(eqx.Module):
    """The last states and their times, newest first, and the newest slope."""

    states: History
    slopes: History

    @property
    def evaluations(self) -> Any:
        return self.slopes.evaluations


class BDF(AbstractMultistep):
    r"""BDF of order 1 or 2 as a Diffrax solver: A-stable for constant steps, and stiff modes die
    at once.

    With w = h_n / h_{n-1},

    $$z = \frac{(1 + w)^2 z_n - w^2 z_{n-1} + (1 + w) h_n f(z)}{1 + 2 w}.$$

    The predictor extrapolates the last states and not the slopes, which are large when stiff. The
    error is estimated from the difference to it. The first step has order 1. Dense output is cubic.

    Order 2 loses its stability, also at 0, where steps grow by more than 1 + sqrt 2 from one to the
    next, again and again. `PIDController` lets them grow tenfold: give it `factormax=2`.

    Arguments as `ABM`'s; the order is 2 by default.
    """

    _orders: ClassVar = (1, 2)
    _usual: ClassVar = 2

    def init(self, terms, t0, t1, y0, args) -> Past:
        del t1
        y0 = as_float_tree("y0", y0)
        slope = field_of(terms, args, "BDF")(t0, y0)
        return Past(began(t0, y0, self.order_ + 1), began(t0, slope, 1))

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        field = field_of(terms, args, "BDF")
        slopes = after_jump(field, t0, y0, solver_state.slopes, made_jump)
        states = _restarted(t0, y0, solver_state.states, made_jump)
        slope0 = jax.tree.map(lambda r: r[0], slopes.rows)
        guess, delta, gamma, ratio = self._formula(states, slope0, t0, t1)
        stage = self._solve(field, t1, delta, gamma, guess)
        error = jax.tree.map(lambda z, g: ratio.astype(z.dtype) * (z - g), stage.z, guess)
        error, result = verdict(stage.okay, error)
        dense = hermite(y0, stage.z, slope0, stage.slope, t1 - t0)
        past = Past(
            states.pushed(t1, stage.z, 0), slopes.pushed(t1, stage.slope, stage.evaluations)
        )
        return stage.z, error, dense, past, result

    def _formula(self, states: History, slope0: PyTree, t0: Any, t1: Any) -> tuple:
        """Predictor, delta, gamma, and the error over the difference to the predictor."""
        h = t1 - t0
        # Steps before this one; where there was none, its own length, which no formula then uses.
        gaps = states.times[:-1] - states.times[1:]
        there = jnp.arange(gaps.size, dtype=jnp.int32) + 1 < states.count
        gaps = jnp.where(there, gaps, h)
        start = self._euler(states, slope0, h)
        first = self._linear(states, h, gaps)
        if self.order_ == 1:
            return _choose([start, first], states.count - 1)
        second = self._quadratic(states, h, gaps)
        # With two states the formula is of order 2, but the predictor of order 1.
        early = (first[0], second[1], second[2], first[3])
        return _choose([start, early, second], states.count - 1)

    def _euler(self, states: History, slope0: PyTree, h: Any) -> tuple:
        newest = jax.tree.map(lambda r: r[0], states.rows)
        guess = jax.tree.map(lambda y, s: y + h.astype(y.dtype) * s, newest, slope0)
        return guess, newest, h, jnp.full_like(h, 0.5)

    def _linear(self, states: History, h: Any, gaps: Any) -> tuple:
        w = h / gaps[0]
        guess = jax.tree.map(lambda r: r[0] + w.astype(r.dtype) * (r[0] - r[1]), states.rows)
        newest = jax.tree.map(lambda r: r[0], states.rows)
        return guess, newest, h, h / (2 * h + gaps[0])

    def _quadratic(self, states: History, h: Any, gaps: Any) -> tuple:
        w, back = h / gaps[0], h + gaps[0]
        whole = 1 + 2 * w
        delta = jax.tree.map(
            lambda r: (
                (((1 + w) ** 2).astype(r.dtype) * r[0] - (w**2).astype(r.dtype) * r[1])
                / whole.astype(r.dtype)
            ),
            states.rows,
        )
        gamma = (1 + w) * h / whole

        def extrapolated(r: Any) -> Any:
            # Newton's form, with divided differences.
            one, two = ((r[i] - r[i + 1]) / gaps[i].astype(r.dtype) for i in range(2))
            curve = (one - two) / (gaps[0] + gaps[1]).astype(r.dtype)
            return r[0] + h.astype(r.dtype) * (one + back.astype(r.dtype) * curve)

        mine = h**2 * back**2 / (6 * (2 * h + gaps[0]))
        theirs = h * back * (back + gaps[1]) / 6
        return jax.tree.map(extrapolated, states.rows), delta, gamma, mine / (mine + theirs)


def _choose(cases: list, index: Any) -> Any:
    return jax.tree.map(lambda *a: jax.lax.select_n(index, *a), *cases)


def _restarted(t0: Any, y0: PyTree, states: History, made_jump: Any) -> History:
    if made_jump is False:
        return states
    new = began(t0, y0, states.times.size)
    return jax.tree.map(lambda a, b: jnp.where(made_jump, a, b), new, states)
