"""Dependence through a whole jaxpr: calls are entered, loops unrolled or run to a fixed point."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.ref import Ref

from tenfold.hollow._propagation import RULES, mixed
from tenfold.hollow._sets import (
    Sets,
    anything,
    dependent,
    everything,
    joined,
    known,
    shapes,
    unknown,
)

Constant = Callable[[Any], Sets]
"""What is to be thought of an array that a program has closed over: `fixed` or `free`."""


def fixed(value: Any) -> Sets:
    """It stays what it is."""
    return unknown(value.shape) if isinstance(value, Ref) else known(value)


def free(value: Any) -> Sets:
    """JAX's floating-point arrays may be parameters: any values. NumPy's, and masks, stay."""
    may_change = isinstance(value, jax.Array) and eqx.is_inexact_array(value)
    return unknown(value.shape) if may_change else fixed(value)


def walk(
    closed: core.ClosedJaxpr, operands: Sequence[Sets], n: int, constant: Constant
) -> list[Sets]:
    """The outputs' dependence on n inputs, given the operands'."""
    jaxpr = closed.jaxpr
    found: dict[Any, Sets] = dict(zip(jaxpr.constvars, map(constant, closed.consts)))
    found |= dict(zip(jaxpr.invars, operands))

    def read(variable: Any) -> Sets:
        return known(variable.val) if isinstance(variable, core.Literal) else found[variable]

    for equation in jaxpr.eqns:
        inside = [read(v) for v in equation.invars]
        for variable, out in zip(equation.outvars, _outputs(equation, inside, n, constant)):
            out.origin = out.origin or (equation, inside)
            found[variable] = out
    return [read(v) for v in jaxpr.outvars]


def _outputs(
    equation: core.JaxprEqn, operands: Sequence[Sets], n: int, constant: Constant
) -> Sequence[Sets]:
    name = equation.primitive.name
    if name in _LOOPS:
        return _LOOPS[name](equation, operands, n, constant)
    body = _body(equation)
    if body is not None:
        return walk(body, operands, n, constant)
    if equation.effects:  # a reference, or the host: it may give back what was put there before
        return [anything(shape, n) for shape in shapes(equation)]
    if all(operand.value is not None for operand in operands):
        return _evaluated(equation, operands)
    if name in RULES:
        return RULES[name](equation, operands, n)
    if all(operand.sets is None for operand in operands):
        return [unknown(shape) for shape in shapes(equation)]
    return mixed(equation, operands, n)


def _evaluated(equation: core.JaxprEqn, operands: Sequence[Sets]) -> list[Sets]:
    params = equation.primitive.get_bind_params(equation.params)
    out = equation.primitive.bind(*[operand.value for operand in operands], **params)
    return [known(o) for o in (out if equation.primitive.multiple_results else [out])]


_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2",
          "custom_jvp_call", "custom_vjp_call")  # fmt: skip


def _body(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """What a call calls. By name: a reduction, too, has a jaxpr of as many operands."""
    if equation.primitive.name not in _CALLS:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        if isinstance(inner, core.Jaxpr):
            inner = core.ClosedJaxpr(inner, ())
        if isinstance(inner, core.ClosedJaxpr):
            fits = len(inner.jaxpr.invars) == len(equation.invars)
            return inner if fits else None
    return None


def _scan(
    equation: core.JaxprEqn, operands: Sequence[Sets], n: int, constant: Constant
) -> list[Sets]:
    params = equation.params
    first, carried = params["num_consts"], params["num_carry"]
    consts, carry = operands[:first], list(operands[first : first + carried])
    columns, inner = operands[first + carried :], params["jaxpr"]
    order = range(params["length"])
    if not order:
        return [*carry, *map(unknown, shapes(equation)[carried:])]
    rows: dict[int, Sequence[Sets]] = {}
    for i in reversed(order) if params["reverse"] else order:
        sliced = [_row(column, i) for column in columns]
        out = walk(inner, [*consts, *carry, *sliced], n, constant)
        carry, rows[i] = out[:carried], out[carried:]
    stacked = [_stack(column, n) for column in zip(*(rows[i] for i in order))]
    return [*carry, *stacked]


def _row(column: Sets, i: int) -> Sets:
    sets = None if column.sets is None else column.sets[i]
    value = None if column.value is None else column.value[i]
    return Sets(column.shape[1:], sets, column.zero[i], value, column.origin)


def _stack(rows: Sequence[Sets], n: int) -> Sets:
    zero = np.stack([row.zero for row in rows])
    if all(row.value is not None for row in rows):
        return known(jnp.stack([row.value for row in rows]))
    if all(row.sets is None for row in rows):
        return Sets(zero.shape, None, zero)
    return dependent(np.stack([row.dense(n) for row in rows]), zero)


def _while(
    equation: core.JaxprEqn, operands: Sequence[Sets], n: int, constant: Constant
) -> list[Sets]:
    params = equation.params
    tests, bodies = params["cond_nconsts"], params["body_nconsts"]
    of_test, of_body = operands[:tests], operands[tests : tests + bodies]
    inner, test = params["body_jaxpr"], params["cond_jaxpr"]
    carry = [Sets(c.shape, c.sets, c.zero, None, c.origin) for c in operands[tests + bodies :]]
    moving = True
    while moving:
        out = walk(inner, [*of_body, *carry], n, constant)
        both = [joined(a, b, n) for a, b in zip(carry, out)]
        moving = any(not _same(a, b, n) for a, b in zip(carry, both))
        carry = both
    stops = walk(test, [*of_test, *carry], n, constant)
    return _told_by(stops, carry, n)


def _same(a: Sets, b: Sets, n: int) -> bool:
    return np.array_equal(a.dense(n), b.dense(n)) and np.array_equal(a.zero, b.zero)


def _told_by(switch: Sequence[Sets], outputs: Sequence[Sets], n: int) -> list[Sets]:
    """Outputs of a branch or loop: they depend on what decides it too."""
    if all(s.sets is None for s in switch):
        return list(outputs)
    decided = [everything(out.shape, switch, n) for out in outputs]
    return [joined(out, more, n) for out, more in zip(outputs, decided)]


def _cond(
    equation: core.JaxprEqn, operands: Sequence[Sets], n: int, constant: Constant
) -> Sequence[Sets]:
    switch, *operands = operands
    branches = equation.params["branches"]
    if switch.value is not None:
        branches = [branches[int(np.clip(int(switch.value), 0, len(branches) - 1))]]
    results = [walk(b, operands, n, constant) for b in branches]
    outputs = results[0]
    for other in results[1:]:
        outputs = [joined(a, b, n) for a, b in zip(outputs, other)]
    return _told_by([switch], outputs, n)


_LOOPS = {"scan": _scan, "while": _while, "cond": _cond}
