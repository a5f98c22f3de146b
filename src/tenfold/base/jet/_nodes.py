"""The nodes of straight-line code: a rule, a call, or the JVP of whatever has no rule."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core, source_info_util

from tenfold.base.jet._rules import RULES, Order, has_rule, linear, values
from tenfold.base.jet._series import Coefficient, Series, dense, scale
from tenfold.base.jet._tower import Frame, Node, evaluate, is_float, node

_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "remat": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr",
          "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "call_jaxpr"}  # fmt: skip
"""Primitives that only call a jaxpr, and the parameter that holds it. (A custom_vjp function has
no forward-mode rule, so its own body is what gets differentiated.)"""


@node("")
def _straight(equation: core.JaxprEqn, moving: list[bool]) -> Node:
    return Direct(equation, moving) if has_rule(equation) else Derivative(equation, moving)


class Direct(Node):
    """An equation with a rule of its own."""

    def __init__(self, equation: core.JaxprEqn, moving: list[bool]):
        del moving
        self._equation = equation
        self._memo: dict[str, list[Coefficient]] = {}

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        if k == 0:
            return evaluate(self._equation, values(inputs))
        name = self._equation.primitive.name
        order = Order(k, self._equation, inputs, outputs[0], self._memo)
        found = [RULES[name](order)] if name in RULES else linear(order)
        return [_fitted(c, v) for c, v in zip(found, self._equation.outvars)]

    def memory(self) -> list[list[Coefficient]]:
        return list(self._memo.values())


def _fitted(coefficient: Coefficient, variable: Any) -> Coefficient:
    """jaxprs mix scalars with arrays; what comes of the scalar alone must still be an array."""
    if coefficient is None or not is_float(variable):
        return None
    if coefficient.shape == variable.aval.shape:
        return coefficient
    return jnp.broadcast_to(coefficient, variable.aval.shape)


@node(*_CALLS)
class Call(Node):
    """A call of a jaxpr (jit, checkpoint, ...), walked as if it stood in line."""

    def __init__(self, equation: core.JaxprEqn, moving: list[bool]):
        inner = equation.params[_CALLS[equation.primitive.name]]
        closed = isinstance(inner, core.ClosedJaxpr)
        jaxpr, constants = (inner.jaxpr, inner.consts) if closed else (inner, ())
        self._frame = Frame(jaxpr, constants, moving)

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        return self._frame.push(k, inputs)

    def memory(self) -> list[list[Coefficient]]:
        return self._frame.memory()


class Derivative(Node):
    """Any primitive that JAX can differentiate, through its JVP J(u, u').

    v'(s) = J(u(s), u'(s)), hence k v_k = coefficient k - 1 of J. J is itself walked online, and
    where it recomputes the primitive's own output (as the JVPs of softplus or sqrt do) the series
    of that output is taken from here. This honours custom_jvp rules: softplus'' (0) is 1/4, which
    differentiating the body of `logaddexp` (a max and an abs) would miss.
    """

    def __init__(self, equation: core.JaxprEqn, moving: list[bool]):
        self._equation, self._moving = equation, moving
        self._tangents: list[list[Coefficient]] = [[] for moves in moving if moves]
        self._frame: Frame | None = None

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        equation = self._equation
        if k == 0:
            return evaluate(equation, values(inputs))
        if self._frame is None:
            self._frame = self._differentiate(values(inputs), outputs)
        moving = [u for u, moves in zip(inputs, self._moving) if moves]
        for u, tangent in zip(moving, self._tangents):
            slope = scale(k, u[k])
            # Coefficient 0 of u' must be an array.
            tangent.append(dense(slope, u[0]) if k == 1 else slope)
        slopes = iter(self._frame.push(k - 1, [*(u[:k] for u in inputs), *self._tangents]))
        return [scale(1 / k, next(slopes)) if is_float(v) else None for v in equation.outvars]

    def memory(self) -> list[list[Coefficient]]:
        return [*self._tangents, *(self._frame.memory() if self._frame else ())]

    def _differentiate(self, starts: Sequence[Array], outputs: Sequence[Series]) -> Frame:
        """The frame of J, whose inputs are the operands and the tangents of those that move."""
        moving, equation = self._moving, self._equation
        tangents = [jnp.zeros_like(x) for x, moves in zip(starts, moving) if moves]
        try:
            # JAX's own rules need not pass under strict promotion, should the user ask for it.
            with jax.numpy_dtype_promotion("standard"):
                slope = jax.make_jaxpr(lambda x, dx: _slope(equation, moving, x, dx))
                closed = slope(starts, tangents)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise NotImplementedError(
                f"Taylor mode: the primitive '{equation.primitive.name}' at "
                f"{source_info_util.summarize(equation.source_info)} can't be differentiated "
                f"forward ({error}); give it a JVP rule with jax.custom_jvp"
            ) from error
        operands = closed.jaxpr.invars[: len(starts)]
        moves = [m and is_float(v) for m, v in zip(moving, equation.invars)]
        known = (lambda inner: _same(inner, equation, operands), outputs)
        return Frame(closed.jaxpr, closed.consts, moves + [True] * len(tangents), known)


def _slope(equation: core.JaxprEqn, moving: list[bool], operands: Any, tangents: Any) -> list:
    """The JVP of one equation: slopes of its floating-point outputs."""

    def outputs(*moved):
        replaced = iter(moved)
        return evaluate(equation, [next(replaced) if m else o for o, m in zip(operands, moving)])

    primals = [o for o, moves in zip(operands, moving) if moves]
    _, slopes = jax.jvp(outputs, primals, tangents)
    return [s for s, v in zip(slopes, equation.outvars) if is_float(v)]


def _same(inner: core.JaxprEqn, outer: core.JaxprEqn, operands: Sequence[Any]) -> bool:
    """Whether `inner`, applied to `operands`, computes what `outer` did."""
    if inner.primitive is not outer.primitive or list(inner.invars) != list(operands):
        return False
    # Equinox's primitives note the structure of their outputs in a new `flatten` at each call.
    params = {key: value for key, value in outer.params.items() if key != "flatten"}
    return all(_equal(inner.params.get(key), value) for key, value in params.items())


def _equal(a: Any, b: Any) -> bool:
    if isinstance(b, core.ClosedJaxpr):
        same = not b.consts and isinstance(a, core.ClosedJaxpr) and str(a) == str(b)
        return same and _source(a.jaxpr) == _source(b.jaxpr)
    if hasattr(b, "debug_info"):
        # The functions inside custom_jvp are wrapped anew at each call; where they stand decides.
        return _source(a) == _source(b)
    return a is b or (not callable(b) and a == b)


def _source(function: Any) -> Any:
    return getattr(getattr(function, "debug_info", None), "func_src_info", None)
