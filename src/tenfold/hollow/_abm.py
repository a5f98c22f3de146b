"""Adams-Bashforth-Moulton of orders 1-4 with variable steps."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tenfold.base._checks import as_float_tree
from tenfold.hollow._history import History, began, combined, integral_error, integral_weights
from tenfold.hollow._multistep import AbstractMultistep, after_jump, hermite
from tenfold.hollow._stage import Field, field_of, verdict


class ABM(AbstractMultistep):
    r"""Adams' predictor and corrector as a Diffrax solver.

    $$z_p = z_n + \int_{t_n}^{t_{n+1}} P(f_n, ..., f_{n-k+1}), \qquad
      z = z_n + \int_{t_n}^{t_{n+1}} P(f(z), f_n, ..., f_{n-k+2})$$

    with P the polynomial through its arguments at their own times, for steps of any size. The
    `corrector` solves the implicit second equation from z_p. The error estimate is Milne's, the
    difference of the two times the ratio of their constants.

    The first step is the trapezoidal rule's (with `order=4` it is extrapolated once), the next ones
    have as many points as there are. Dense output is cubic.

    Orders 1 and 2 are A-stable. Orders 3 and 4 are not: real eigenvalues must obey
    h |lambda| < 6 and < 3, however the equation is solved; use `BDF` where it is stiff.

    **Arguments:**

    - `order`: 1..4, by default 4.
    - `corrector`: an Optimistix root finder. `JacobiNewton()` uses the field's own Jacobian
      diagonal where it has one (`value_and_jacobian_diagonal`); `Functional()`, `NewtonKrylov()`,
      `JacobiOnly()`, or any of Optimistix's.
    - `max_iterations` of it; a step whose equation is not solved is refused, and with given steps
      ends the solve.
    - `adjoint`: how to differentiate its solution.

    NFE: `tenfold.base.count_nfe`, of a solve by `tenfold.base.counted(solver, controller)`: Diffrax
    takes back what a rejected step counted.

    **Raises:** ValueError for another order, a corrector that is no root finder or has no
    tolerances of its own, a term that isn't an `ODETerm`, or a state that isn't of real numbers.
    """

    _orders: ClassVar = (1, 2, 3, 4)
    _usual: ClassVar = 4

    def init(self, terms, t0, t1, y0, args) -> History:
        del t1
        y0 = as_float_tree("y0", y0)
        return began(t0, field_of(terms, args, "ABM")(t0, y0), max(2, self.order_))

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        field = field_of(terms, args, "ABM")
        past = after_jump(field, t0, y0, solver_state, made_jump)
        plain = lambda: self._multistep(field, past, t0, t1, y0)  # noqa: E731
        if self.order_ < 4:
            z, slope, error, used, okay = plain()
        else:
            starting = lambda: self._extrapolated(field, past, t0, t1, y0)  # noqa: E731
            z, slope, error, used, okay = jax.lax.cond(past.count == 1, starting, plain)
        error, result = verdict(okay, error)
        dense = hermite(y0, z, jax.tree.map(lambda r: r[0], past.rows), slope, t1 - t0)
        return z, error, dense, past.pushed(t1, slope, used), result

    def _multistep(self, field: Field, past: History, t0: Any, t1: Any, y0: PyTree) -> tuple:
        h = t1 - t0
        place = jnp.arange(past.times.size, dtype=jnp.int32)
        before = (past.times - t0) / h
        told = place < jnp.minimum(self.order_, past.count)
        guess = _moved(y0, h, integral_weights(before, told), past.rows)
        nodes = jnp.concatenate([jnp.ones_like(before[:1]), before])
        points = jnp.minimum(self.order_, past.count + 1)
        used = jnp.concatenate([jnp.ones(1, bool), place < points - 1])
        weights = integral_weights(nodes, used)
        delta = _moved(y0, h, weights[1:], past.rows)
        stage = self._solve(field, t1, delta, h * weights[0], guess)
        mine, theirs = integral_error(nodes, used), integral_error(before, told)
        # Of one order, they differ by a known multiple of the error; else by the predictor's.
        alike = past.count >= self.order_
        ratio = jnp.where(alike, mine / (theirs - mine), 1)
        error = _scaled_difference(ratio, stage.z, guess)
        return stage.z, stage.slope, error, stage.evaluations, stage.okay

    def _extrapolated(self, field: Field, past: History, t0: Any, t1: Any, y0: PyTree) -> tuple:
        """(4 T - S)/3 of two half trapezoidal steps T and a whole one S."""
        h, f0 = t1 - t0, jax.tree.map(lambda r: r[0], past.rows)

        def trapezoid(carry: Any, length: Any) -> tuple:
            # Back to the start for the whole step; else on from where the last one ended.
            t, y, f = jax.tree.map(
                lambda a, b: jnp.where(length == h, a, b), (jnp.asarray(t0), y0, f0), carry
            )
            half = 0.5 * length
            delta = jax.tree.map(lambda y, f: y + half.astype(y.dtype) * f, y, f)
            guess = jax.tree.map(lambda y, f: y + length.astype(y.dtype) * f, y, f)
            stage = self._solve(field, t + length, delta, half, guess)
            return (t + length, stage.z, stage.slope), stage

        start = (jnp.asarray(t0), y0, f0)
        _, stages = jax.lax.scan(trapezoid, start, jnp.stack([0.5 * h, 0.5 * h, h]))

        def extrapolated(rows: Array) -> Array:
            return (4 * rows[1] - rows[2]) / 3

        z = jax.tree.map(extrapolated, stages.z)
        error = _scaled_difference(1.0, z, jax.tree.map(lambda r: r[1], stages.z))
        slope = jax.tree.map(extrapolated, stages.slope)
        return z, slope, error, jnp.sum(stages.evaluations, dtype=jnp.int32), jnp.all(stages.okay)


def _moved(y0: PyTree, h: Any, weights: Array, rows: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, y0, combined(h * weights, rows))


def _scaled_difference(ratio: Any, a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.asarray(ratio, a.dtype) * (a - b), a, b)
