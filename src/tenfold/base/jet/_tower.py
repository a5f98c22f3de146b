"""The online scheme: walk a jaxpr once an order, keeping every intermediate's coefficients.

At order k each equation yields coefficient k of its output from what is already there, so K
orders cost K passes of linear work and O(K^2) elementwise work. Restarting a jet at growing
orders costs O(K^2) passes, nesting JVPs 2^K (arXiv 2007.04504, section 3 and appendix).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax import Array
from jax.extend import core

from tenfold.base.jet._rules import PIECEWISE_CONSTANT, values
from tenfold.base.jet._series import Coefficient, Series

Known: TypeAlias = tuple[Callable[[core.JaxprEqn], bool], Sequence[Series]]
"""Which equations are computed elsewhere already, and the series of their outputs."""


class Node:
    """One equation that moves."""

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        """Coefficient k of the outputs, given `inputs` of orders 0..k and `outputs` of 0..k-1."""
        raise NotImplementedError

    def memory(self) -> list[list[Coefficient]]:
        """The lists, besides inputs and outputs, in which it keeps coefficients between pushes."""
        return []


Factory: TypeAlias = Callable[[core.JaxprEqn, list[bool]], Node]
"""Makes the node of an equation, told which operands move."""

NODES: dict[str, Factory] = {}
"""How equations move, by primitive; `""` is for those that are not listed. The modules of the
nodes fill it, since nodes hold frames and frames hold nodes."""


def node(*names: str) -> Callable[[Any], Any]:
    def register(factory: Any) -> Any:
        for name in names:
            NODES[name] = factory
        return factory

    return register


def is_float(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.inexact)


def evaluate(equation: core.JaxprEqn, operands: Sequence[Array]) -> list[Array]:
    result = equation.primitive.bind(
        *operands, **equation.primitive.get_bind_params(equation.params)
    )
    return list(result) if equation.primitive.multiple_results else [result]


def literal(variable: Any) -> Array:
    """A literal's value, made at each reading: made once, it could outlive the trace."""
    return jnp.asarray(variable.val, variable.aval.dtype)


def _live(jaxpr: core.Jaxpr) -> list[core.JaxprEqn]:
    """The equations that the outputs need, and those with effects."""
    needed = {v for v in jaxpr.outvars if isinstance(v, core.Var)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            kept.append(equation)
            needed.update(v for v in equation.invars if isinstance(v, core.Var))
    return kept[::-1]


class Frame:
    """Coefficients of every intermediate of one jaxpr; `push` adds one order to all of them.

    **Arguments:** the jaxpr, its constants, which of its inputs have more than one coefficient,
    and what need not be computed here.
    """

    def __init__(
        self,
        jaxpr: core.Jaxpr,
        constants: Sequence[Any],
        varying: Sequence[bool],
        known: Known | None = None,
    ):
        self._jaxpr = jaxpr
        self._constants = dict(zip(jaxpr.constvars, constants))
        self._series: dict[Any, list[Coefficient]] = {}
        self._elsewhere: dict[Any, Series] = {}
        self._varying = {v for v, moves in zip(jaxpr.invars, varying) if moves}
        self._nodes: list[tuple[core.JaxprEqn, Node | None]] = []
        for equation in _live(jaxpr):
            if known is not None and known[0](equation):
                self._elsewhere |= dict(zip(equation.outvars, known[1]))
                self._varying.update(filter(is_float, equation.outvars))
            else:
                self._series |= {v: [] for v in equation.outvars}
                self._nodes.append((equation, self._node(equation)))

    def _node(self, equation: core.JaxprEqn) -> Node | None:
        """How this equation moves; `None` when it stays at its value of order 0."""
        moving = [self._moves(v) for v in equation.invars]
        floats = [v for v in equation.outvars if is_float(v)]
        name = equation.primitive.name
        if not any(moving) or not floats or name in PIECEWISE_CONSTANT:
            return None
        self._varying.update(floats)
        return NODES.get(name, NODES[""])(equation, moving)

    def _moves(self, variable: Any) -> bool:
        return not isinstance(variable, core.Literal) and variable in self._varying

    @property
    def moving_outputs(self) -> list[bool]:
        return [self._moves(v) for v in self._jaxpr.outvars]

    def push(self, k: int, inputs: Sequence[Series]) -> list[Coefficient]:
        """Coefficient k of the outputs from coefficients 0..k of the inputs; k = 0, 1, 2, ..."""
        self._elsewhere |= dict(zip(self._jaxpr.invars, inputs))
        for equation, moving in self._nodes:
            outputs = [self._series[v] for v in equation.outvars]
            if moving is not None:
                found = moving.push(k, [self._read(v, k) for v in equation.invars], outputs)
            elif k == 0:
                found = evaluate(equation, values([self._read(v, 0) for v in equation.invars]))
            else:
                continue
            for series, coefficient in zip(outputs, found):
                series.append(coefficient)
        return [self._read(v, k)[k] for v in self._jaxpr.outvars]

    def _read(self, variable: Any, k: int) -> Series:
        if isinstance(variable, core.Literal):
            known: Series = [literal(variable)]
        elif variable in self._constants:
            known = [jnp.asarray(self._constants[variable])]
        else:
            home = self._series if variable in self._series else self._elsewhere
            known = home[variable][: k + 1]
        return [*known, *[None] * (k + 1 - len(known))]

    def memory(self) -> list[list[Coefficient]]:
        """Every list that holds coefficients between pushes, in a fixed order."""
        inside = [cell for _, moving in self._nodes if moving for cell in moving.memory()]
        return [*self._series.values(), *inside]
