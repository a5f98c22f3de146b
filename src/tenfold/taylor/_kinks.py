"""Where a vector field bends: what R_K with K >= 2 can't see, and must warn of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.extend import core
from jaxtyping import PyTree

from tenfold.base.typing import VectorField

_BENT = ("relu", "relu6", "leaky_relu", "hard_tanh")
_POSITIVE = ("exp", "exp2", "logistic", "square", "sqrt", "abs", "erfc", "cosh")
_KEEPS_POSITIVE = ("reduce_sum", "reduce_max", "add", "max", "cumsum", "integer_pow")
_KEEPS_SIGN = (
    "mul", "div", "neg", "select_n", "reshape", "squeeze", "broadcast_in_dim", "transpose", "copy",
    "convert_element_type",
)  # fmt: skip
_STOPS = ("stop_gradient", "sign", "floor", "ceil", "round", "lt", "le", "gt", "ge", "eq", "ne")


def kinks(f: VectorField, t: Any, z: PyTree, args: PyTree) -> set[str]:
    """Names of what bends in f as (t, z) moves: relu and its kin, abs, clamp, max and min.

    A max(0, x) with x >= 0 or x <= 0 throughout, as LayerNorm has it for its variance, does not
    bend. Functions written with `where` are not recognised.
    """
    dynamic, static = eqx.partition(args, eqx.is_array)
    closed = jax.make_jaxpr(lambda a, t, z: f(t, z, eqx.combine(a, static)))(dynamic, t, z)
    still = len(jax.tree.leaves(dynamic))
    flags = [_Flags(i >= still) for i in range(len(closed.jaxpr.invars))]
    found: set[str] = set()
    _walk(closed.jaxpr, flags, found)
    return found


@dataclass
class _Flags:
    moves: bool = True
    positive: bool = False
    """>= 0 in all entries."""
    steady: bool = field(default=False)
    """No entry changes its sign: it is positive, or doesn't move."""

    def __post_init__(self):
        self.steady = self.steady or self.positive or not self.moves


def _literal(value: Any) -> _Flags:
    return _Flags(moves=False, positive=not np.any(np.asarray(value) < 0))


def _walk(jaxpr: core.Jaxpr, inputs: Sequence[_Flags], found: set[str]) -> list[_Flags]:
    known: dict[Any, _Flags] = {v: _Flags(moves=False) for v in jaxpr.constvars}
    known |= zip(jaxpr.invars, inputs)

    def read(v: Any) -> _Flags:
        return _literal(v.val) if isinstance(v, core.Literal) else known[v]

    for equation in jaxpr.eqns:
        operands = [read(v) for v in equation.invars]
        if _bends(equation, operands):
            found.add(_name(equation))
        known |= zip(equation.outvars, _outputs(equation, operands, found))
    return [read(v) for v in jaxpr.outvars]


def _name(equation: core.JaxprEqn) -> str:
    """Of the function that is called, or of the primitive."""
    if equation.primitive.name == "custom_jvp_call":
        inner = equation.params["call_jaxpr"].jaxpr.eqns
        return next(
            (e.params["name"] for e in inner if e.params.get("name") in _BENT), "custom_jvp"
        )
    name = equation.params.get("name")
    return name if name in _BENT else equation.primitive.name


def _bends(equation: core.JaxprEqn, operands: Sequence[_Flags]) -> bool:
    name = _name(equation)
    if not any(o.moves for o in operands):
        return False
    if name in ("max", "min"):
        values = [v.val for v in equation.invars if isinstance(v, core.Literal)]
        if values and np.all(np.isinf(values[0])):
            return False
        at_zero = bool(values) and not np.any(values[0])
        return not (at_zero and all(o.steady for o in operands))
    return name in _BENT or name == "clamp" or (name == "abs" and not operands[0].steady)


def _outputs(equation: core.JaxprEqn, operands: Sequence[_Flags], found: set[str]) -> list[_Flags]:
    name, count = equation.primitive.name, len(equation.outvars)
    # A smooth function may well be written with max and a custom rule (softplus is).
    if name != "custom_jvp_call" and _name(equation) not in _BENT:
        results = []
        for inner in _inner(equation):
            same = len(inner.invars) == len(operands)
            results.append(
                _walk(inner, operands if same else [_Flags()] * len(inner.invars), found)
            )
        if len(results) == 1 and len(results[0]) == count:
            return results[0]
    moves = name not in _STOPS and any(o.moves for o in operands)
    even = name == "integer_pow" and equation.params["y"] % 2 == 0
    product = name == "mul" and equation.invars[0] is equation.invars[1]
    kept = name in _KEEPS_POSITIVE + _KEEPS_SIGN and name != "neg"
    positive = name in _POSITIVE or even or product or (kept and all(o.positive for o in operands))
    steady = name in _KEEPS_SIGN and all(o.steady for o in operands)
    return [_Flags(moves, positive, steady)] * count


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """The jaxprs that an equation calls, loops over or chooses from."""
    for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
        if _is_jaxpr(leaf):
            yield getattr(leaf, "jaxpr", leaf)


def _is_jaxpr(x: Any) -> bool:
    return isinstance(x, core.ClosedJaxpr | core.Jaxpr)
