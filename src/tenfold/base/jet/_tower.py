"""The online scheme: walk a jaxpr once an order, keeping every intermediate's coefficients.

At order k each equation yields coefficient k of its output from what is already there, so K
orders cost K passes of linear work and O(K^2) elementwise work. Restarting a jet at growing
orders costs O(K^2) passes, nesting JVPs 2^K (arXiv 2007.04504, section 3 and appendix).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core, source_info_util

from tenfold.base.jet._rules import LINEAR, PIECEWISE_CONSTANT, RULES, Order, linear, values
from tenfold.base.jet._series import Coefficient, Series, add, scale

_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "remat": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr",
          "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "call_jaxpr"}  # fmt: skip
"""Primitives that only call a jaxpr, and the parameter that holds it. (A custom_vjp function has
no forward-mode rule, so its own body is what gets differentiated.)"""


def _is_float(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.inexact)


def _live(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
    """The equations that the outputs need, and those with effects."""
    needed = {v for v in jaxpr.outvars if isinstance(v, core.Var)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            kept.append(equation)
            needed.update(v for v in equation.invars if isinstance(v, core.Var))
    return kept[::-1]


def _evaluate(equation: core.JaxprEqn, operands: Sequence[Array]) -> list[Array]:
    result = equation.primitive.bind(
        *operands, **equation.primitive.get_bind_params(equation.params)
    )
    return list(result) if equation.primitive.multiple_results else [result]


class Frame:
    """Coefficients of every intermediate of one jaxpr; `push` adds one order to all of them."""

    def __init__(self, jaxpr: core.Jaxpr, constants: Sequence[Array], varying: Sequence[bool]):
        self._jaxpr = jaxpr
        self._equations = _live(jaxpr)
        self._nodes: list[Node | None] = []
        self._series: dict[Any, list[Coefficient]] = {v: [] for v in jaxpr.invars}
        self._series |= {v: [jnp.asarray(c)] for v, c in zip(jaxpr.constvars, constants)}
        self._varying = {v for v, moves in zip(jaxpr.invars, varying) if moves}
        self._aliases: dict[Any, list[Coefficient]] = {}
        self._order = 0

    def alias(self, matches: Callable[[core.JaxprEqn], bool], series: Sequence[list[Coefficient]]):
        """Outputs of the equations that `matches` are known already: `series`, kept elsewhere."""
        kept = []
        for equation in self._equations:
            if matches(equation):
                self._aliases |= dict(zip(equation.outvars, series))
                self._varying.update(v for v in equation.outvars if _is_float(v))
            else:
                kept.append(equation)
        self._equations = kept
        self._series |= self._aliases

    def push(self, inputs: Sequence[Coefficient]) -> list[Coefficient]:
        """Coefficient k of the outputs from coefficient k of the inputs, k = 0, 1, 2, ..."""
        k, self._order = self._order, self._order + 1
        for variable, coefficient in zip(self._jaxpr.invars, inputs):
            self._series[variable].append(coefficient)
        for position, equation in enumerate(self._equations):
            if k == 0:
                self._nodes.append(self._node(equation))
            node = self._nodes[position]
            if node is not None:
                self._store(equation, node.push(k, [self._read(v, k) for v in equation.invars]))
            elif k == 0:
                operands = values([self._read(v, 0) for v in equation.invars])
                self._store(equation, _evaluate(equation, operands))
        return [self._read(v, k)[k] for v in self._jaxpr.outvars]

    def _read(self, variable: Any, k: int) -> Series:
        if isinstance(variable, core.Literal):
            dtype: Any = getattr(variable.aval, "dtype", None)
            value = jnp.asarray(variable.val, dtype)
            return [value] + [None] * k
        known = self._series[variable][: k + 1]
        return known + [None] * (k + 1 - len(known))

    def _store(self, equation: core.JaxprEqn, outputs: Sequence[Coefficient]):
        for variable, coefficient in zip(equation.outvars, outputs):
            self._series.setdefault(variable, []).append(coefficient)

    def _node(self, equation: core.JaxprEqn) -> "Node | None":
        """How this equation moves; `None` when it stays at its value of order 0."""
        varying = [v in self._varying for v in _hashable(equation.invars)]
        name = equation.primitive.name
        floats = [v for v in equation.outvars if _is_float(v)]
        if not any(varying) or not floats or name in PIECEWISE_CONSTANT:
            return None
        self._varying.update(floats)
        if name in _CALLS:
            return Call(equation, varying)
        if name in LINEAR or name in RULES:
            return Direct(equation)
        if name == "pow" and not varying[1]:
            return Direct(equation, _constant_power)
        return Derivative(equation, varying)


def _hashable(variables: Sequence[Any]) -> list[Any]:
    return [None if isinstance(v, core.Literal) else v for v in variables]


class Node:
    """One equation, moving: `push(k, inputs)` returns coefficient k of its outputs."""

    def push(self, k: int, inputs: list[Series]) -> Sequence[Coefficient]:
        raise NotImplementedError


class Direct(Node):
    """An equation with a rule of its own."""

    def __init__(self, equation: core.JaxprEqn, rule=None):
        self._equation = equation
        self._rule = rule or RULES.get(equation.primitive.name)
        self._output: list[Coefficient] = []
        self._memo: dict[str, list[Coefficient]] = {}

    def push(self, k: int, inputs: list[Series]) -> Sequence[Coefficient]:
        if k == 0:
            outputs = _evaluate(self._equation, values(inputs))
            self._output = [outputs[0]]
            return outputs
        order = Order(k, self._equation, inputs, self._output, self._memo)
        found = linear(order) if self._rule is None else [self._rule(order)]
        shaped = [_shaped(c, v) for c, v in zip(found, self._equation.outvars)]
        self._output.append(shaped[0])
        return shaped


def _shaped(coefficient: Coefficient, variable: Any) -> Coefficient:
    """jaxprs mix scalars with arrays; what comes of the scalar alone must still be an array."""
    if coefficient is None or coefficient.shape == variable.aval.shape:
        return coefficient
    return jnp.broadcast_to(coefficient, variable.aval.shape)


def _constant_power(order: Order) -> Coefficient:
    """v = u^r:  k u_0 v_k = sum_{j=1}^{k} (r j - (k - j)) u_j v_{k-j}. Not analytic at u_0 = 0."""
    u, (u_0, r) = order.inputs[0], order.values
    total = None
    for j in range(1, order.k + 1):
        u_j, v_j = u[j], order.output[order.k - j]
        if u_j is not None and v_j is not None:
            total = add(total, (r * j - (order.k - j)) * (u_j * v_j))
    return None if total is None else total / (order.k * u_0)


class Call(Node):
    """A call of a jaxpr (jit, checkpoint, ...), walked as if it stood in line."""

    def __init__(self, equation: core.JaxprEqn, varying: Sequence[bool]):
        inner = equation.params[_CALLS[equation.primitive.name]]
        jaxpr, constants = (
            (inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())
        )
        self._frame = Frame(jaxpr, constants, varying)

    def push(self, k: int, inputs: list[Series]) -> Sequence[Coefficient]:
        return self._frame.push([u[k] for u in inputs])


class Derivative(Node):
    """Any primitive that JAX can differentiate, through its JVP J(u, u').

    v'(s) = J(u(s), u'(s)), hence k v_k = coefficient k - 1 of J. J is itself walked online, and
    where it recomputes the primitive's own output (as the JVPs of softplus or sqrt do) the series
    of that output is taken from here. This honours custom_jvp rules: softplus'' (0) is 1/4, which
    differentiating the body of `logaddexp` (a max and an abs) would miss.
    """

    def __init__(self, equation: core.JaxprEqn, varying: Sequence[bool]):
        self._equation, self._varying = equation, list(varying)
        self._output: list[list[Coefficient]] = []
        self._frame: Frame | None = None

    def push(self, k: int, inputs: list[Series]) -> Sequence[Coefficient]:
        if k == 0:
            found = _evaluate(self._equation, values(inputs))
            self._output = [[v] for v in found]
            return found
        self._frame = frame = self._frame or self._differentiate(values(inputs))
        moving = [u for u, varies in zip(inputs, self._varying) if varies]
        tangents = [scale(k, u[k]) for u in moving]
        if k == 1:  # coefficient 0 of u' must be an array
            starts = values(moving)
            tangents = [jnp.zeros_like(x) if d is None else d for x, d in zip(starts, tangents)]
        slopes = iter(frame.push([u[k - 1] for u in inputs] + tangents))
        outputs = [
            scale(1 / k, next(slopes)) if _is_float(v) else None for v in self._equation.outvars
        ]
        for known, coefficient in zip(self._output, outputs):
            known.append(coefficient)
        return outputs

    def _differentiate(self, starts: Sequence[Array]) -> Frame:
        varying, equation = self._varying, self._equation
        floats = [_is_float(v) for v in equation.outvars]

        def slope(operands, tangents):
            def moving(*moved):
                replaced = iter(moved)
                return _evaluate(
                    equation, [next(replaced) if m else o for o, m in zip(operands, varying)]
                )

            primals = [o for o, m in zip(operands, varying) if m]
            _, slopes = jax.jvp(moving, primals, tangents)
            return [s for s, is_float in zip(slopes, floats) if is_float]

        tangents = [jnp.zeros_like(x) for x, m in zip(starts, varying) if m]
        try:
            closed = jax.make_jaxpr(slope)(list(starts), tangents)
        except (NotImplementedError, TypeError) as error:
            raise NotImplementedError(
                f"Taylor mode: the primitive '{equation.primitive.name}' at "
                f"{source_info_util.summarize(equation.source_info)} can't be differentiated "
                f"forward ({error}); give it a JVP rule with jax.custom_jvp"
            ) from error
        moves = [m and _is_float(v) for m, v in zip(varying, equation.invars)]
        frame = Frame(closed.jaxpr, closed.consts, moves + [True] * len(tangents))
        operands = closed.jaxpr.invars[: len(starts)]
        frame.alias(lambda inner: _same(inner, equation, operands), self._output)
        return frame


def _same(inner: core.JaxprEqn, outer: core.JaxprEqn, operands: Sequence[Any]) -> bool:
    """Whether `inner`, applied to `operands`, computes what `outer` did."""
    if inner.primitive is not outer.primitive or list(inner.invars) != list(operands):
        return False
    return all(_equal(inner.params.get(key), value) for key, value in outer.params.items())


def _equal(a: Any, b: Any) -> bool:
    if isinstance(b, core.ClosedJaxpr):
        return not b.consts and isinstance(a, core.ClosedJaxpr) and str(a) == str(b)
    # The functions inside custom_jvp are wrapped anew at each call; its jaxpr decides.
    return True if callable(b) else a == b
