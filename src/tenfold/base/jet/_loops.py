"""The nodes of cond and while, whose bodies are walked in Taylor mode.

(Through their JVPs K orders would cost 2^K passes: the JVP of a loop is a loop of twice the size.)
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import Array
from jax.extend import core

from tenfold.base.jet._rules import values
from tenfold.base.jet._series import Coefficient, Series, dense
from tenfold.base.jet._tower import Frame, Node, evaluate, is_float, node


def filled(moves: bool, series: Series, k: int) -> list[Coefficient]:
    """Coefficients 0..k as arrays; coefficient 0 alone of what doesn't move."""
    value, *rest = series
    rest = [*rest, *[None] * (k - len(rest))][:k] if moves else []
    return [value, *(dense(c, value) for c in rest)]


def _all_orders(
    closed: core.ClosedJaxpr, moving: Sequence[bool], k: int, inputs: Sequence[Series]
) -> list[Series]:
    """Coefficients 0..k of the outputs of a jaxpr, known as its inputs are."""
    frame = Frame(closed.jaxpr, closed.consts, moving)
    return [list(u) for u in zip(*(frame.push(j, inputs) for j in range(k + 1)))]


def fixed_point(closed: core.ClosedJaxpr, before: list[bool], carry: list[bool], after: list[bool]):
    """Which of a loop's carried values move, given what moves at its start."""
    while True:
        outputs = Frame(closed.jaxpr, closed.consts, before + carry + after).moving_outputs
        grown = [a or b for a, b in zip(carry, outputs)]
        if grown == carry:
            return carry
        carry = grown


@node("cond")
class Branch(Node):
    """A choice (cond, switch) whose index stays. Order k walks the branch from order 0 again.

    K orders cost K^2 / 2 passes of the branch. Keeping its intermediates would make it K; but
    under vmap both branches run, and the one not taken would divide by intermediates of zero.
    """

    def __init__(self, equation: core.JaxprEqn, moving: list[bool]):
        self._equation, self._moving = equation, moving[1:]

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        if k == 0:
            return evaluate(self._equation, values(inputs))
        moves = [is_float(v) for v in self._equation.outvars]

        def bound(branch: core.ClosedJaxpr):
            return lambda operands: [
                filled(m, series, k)[-1] if m else None
                for m, series in zip(moves, _all_orders(branch, self._moving, k, operands))
            ]

        branches = [bound(branch) for branch in self._equation.params["branches"]]
        return jax.lax.switch(values(inputs)[0], branches, inputs[1:])


@node("while")
class While(Node):
    """A loop of unknown length, which carries whole series. K orders cost K^2 / 2 passes of it."""

    def __init__(self, equation: core.JaxprEqn, moving: list[bool]):
        p = equation.params
        self._equation = equation
        self._test, self._body = p["cond_jaxpr"], p["body_jaxpr"]
        self._split = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
        start, stop = self._split
        self._constants = moving[start:stop]
        self._carry = fixed_point(self._body, self._constants, moving[stop:], [])

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        if k == 0:
            return evaluate(self._equation, values(inputs))
        start, stop = self._split
        constants = inputs[start:stop]

        def test(carry: Any) -> Array:
            operands = values([*inputs[:start], *carry])
            return core.jaxpr_as_fun(self._test)(*operands)[0]

        def body(carry: Any) -> Any:
            found = _all_orders(self._body, self._constants + self._carry, k, [*constants, *carry])
            return [filled(*pair, k) for pair in zip(self._carry, found)]

        first = [filled(*pair, k) for pair in zip(self._carry, inputs[stop:])]
        last = jax.lax.while_loop(test, body, first)
        return [c[k] if moves else None for c, moves in zip(last, self._carry)]
