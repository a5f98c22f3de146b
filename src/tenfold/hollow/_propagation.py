"""How dependence moves through one equation, by kinds of primitives.

A primitive that is not listed is taken to mix all of its operands: safe, if not always sharp.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from tenfold.hollow._products import convolution, dot
from tenfold.hollow._sets import (
    Rule,
    Sets,
    by_word,
    dependent,
    everything,
    shapes,
    united,
    words,
)

RULES: dict[str, Rule] = {"dot_general": dot, "conv_general_dilated": convolution}

_KEEP_ZERO = (
    "neg", "sign", "abs", "sqrt", "cbrt", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh",
    "atanh", "expm1", "log1p", "erf", "erf_inv", "floor", "ceil", "round", "square", "real",
    "convert_element_type", "stop_gradient", "reduce_precision", "copy", "copy_p",
    "optimization_barrier",
)  # fmt: skip
ELEMENTWISE = (
    *_KEEP_ZERO, "add", "sub", "add_any", "mul", "div", "rem", "max", "min", "pow", "integer_pow",
    "exp", "exp2", "log", "logistic", "cos", "acos", "cosh", "acosh", "erfc", "lgamma", "digamma",
    "rsqrt", "atan2", "nextafter", "is_finite", "not", "and", "or", "xor", "eq", "ne", "lt", "le",
    "gt", "ge", "clamp", "select_n", "imag", "conj", "complex", "bessel_i0e", "bessel_i1e",
    "igamma", "igammac", "polygamma", "population_count", "sharding_constraint",
)  # fmt: skip
ROUTES = (
    "reshape", "transpose", "broadcast_in_dim", "slice", "squeeze", "rev", "concatenate", "pad",
    "split", "stack", "unstack", "tile", "gather", "dynamic_slice", "dynamic_update_slice",
)  # fmt: skip
_INDICES = {"gather": slice(1, 2), "dynamic_slice": slice(1, None)}
_INDICES["dynamic_update_slice"] = slice(2, None)


def _rule(*names: str):
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def mixed(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    return [everything(shape, operands, n) for shape in shapes(equation)]


@_rule(*ELEMENTWISE)
def _elementwise(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    name, found = equation.primitive.name, []
    if name == "select_n" and operands[0].value is not None:
        return [_selected(np.asarray(operands[0].value, int), operands[1:], n)]
    for shape, inside in zip(shapes(equation), _each_output(name, operands)):
        sets = _broadest(shape, inside, n)
        found.append(dependent(sets, np.broadcast_to(_zeros(equation, inside), shape)))
    return found


def _broadest(shape: tuple[int, ...], operands: Sequence[Sets], n: int) -> np.ndarray:
    """Of each entry all that it depends on in any operand; scalars stand for all entries."""
    sets = np.zeros((*shape, words(n)), np.uint64)
    for operand in operands:
        if operand.sets is not None:
            sets |= operand.sets
    return sets


def _each_output(name: str, operands: Sequence[Sets]) -> list[list[Sets]]:
    if name == "optimization_barrier":
        return [[operand] for operand in operands]
    return [list(operands)]


def _zeros(equation: core.JaxprEqn, operands: Sequence[Sets]) -> Any:
    name, zeros = equation.primitive.name, [operand.zero for operand in operands]
    if name in ("mul", "and"):
        return zeros[0] | zeros[1]
    if name in ("add", "sub", "add_any", "max", "min", "or"):
        return zeros[0] & zeros[1]
    kept = name in _KEEP_ZERO or name == "div"
    kept = kept or (name == "integer_pow" and equation.params["y"] > 0)
    return zeros[0] if kept else np.zeros((), bool)


def _selected(which: np.ndarray, cases: Sequence[Sets], n: int) -> Sets:
    shape = cases[0].shape
    which = np.clip(np.broadcast_to(which, shape), 0, len(cases) - 1)
    zero = cases[0].zero
    for i, case in enumerate(cases[1:], 1):
        zero = np.where(which == i, case.zero, zero)
    if all(case.sets is None for case in cases):
        return Sets(shape, None, zero)
    sets = cases[0].dense(n)
    for i, case in enumerate(cases[1:], 1):
        sets = np.where((which == i)[..., None], case.dense(n), sets)
    return dependent(sets, zero)


@_rule(*ROUTES)
def _route(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> Sequence[Sets]:
    """Entries move and do not mix: the primitive itself says where, applied to their numbers."""
    indices = operands[_INDICES.get(equation.primitive.name, slice(0, 0))]
    data = operands[: len(operands) - len(indices)]
    if any(index.value is None for index in indices):
        return mixed(equation, operands, n)
    numbers, start = [], 0
    for operand in data:
        size = operand.zero.size
        numbers.append(np.arange(start, start + size, dtype=np.int32).reshape(operand.shape))
        start += size
    moved = _moved(equation, numbers, [i.value for i in indices])
    return [_looked_up(np.asarray(o), data, n) for o in moved]


def _moved(equation: core.JaxprEqn, numbers: Sequence[Any], indices: Sequence[Any]) -> list[Any]:
    params = equation.params
    if equation.primitive.name in _IN_NUMPY:  # saves a compilation each
        return [_IN_NUMPY[equation.primitive.name](params, *numbers)]
    if equation.primitive.name == "gather":  # what it fills in must not look like an entry
        params = {**params, "fill_value": -1}
    out = equation.primitive.bind(*map(jnp.asarray, numbers), *indices, **params)
    return list(out) if equation.primitive.multiple_results else [out]


def _broadcast(params: dict, a: np.ndarray) -> np.ndarray:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], a.shape):
        shape[axis] = size
    return np.broadcast_to(a.reshape(shape), params["shape"])


def _slice(params: dict, a: np.ndarray) -> np.ndarray:
    strides = params["strides"] or [1] * a.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], strides)
    return a[tuple(slice(*bound) for bound in bounds)]


_IN_NUMPY = {
    "reshape": lambda params, a: a.reshape(params["new_sizes"]),
    "transpose": lambda params, a: a.transpose(params["permutation"]),
    "squeeze": lambda params, a: a.squeeze(tuple(params["dimensions"])),
    "rev": lambda params, a: np.flip(a, tuple(params["dimensions"])),
    "concatenate": lambda params, *a: np.concatenate(a, params["dimension"]),
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
}


def _looked_up(numbers: np.ndarray, data: Sequence[Sets], n: int) -> Sets:
    # What a gather fills in beyond the edge has a number that no entry has.
    zero = np.concatenate([*[operand.zero.ravel() for operand in data], [False]])
    numbers = np.where((numbers < 0) | (numbers >= zero.size - 1), zero.size - 1, numbers)
    if all(operand.sets is None for operand in data):
        return Sets(numbers.shape, None, zero[numbers])
    flat = [o.dense(n).reshape(o.zero.size, words(n)) for o in data]
    flat.append(np.zeros((1, words(n)), np.uint64))
    return dependent(np.concatenate(flat)[numbers], zero[numbers])


@_rule("scatter")
def _scatter(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> Sequence[Sets]:
    operand, indices, updates = operands
    # `x.at[i].apply(f)` is a scatter too: of zeros, with f for what becomes of the entries there.
    if indices.value is None or equation.params.get("update_jaxpr") is not None:
        return mixed(equation, operands, n)
    params = equation.params
    options = {"dimension_numbers": params["dimension_numbers"], "mode": params["mode"]}
    old = jnp.arange(operand.zero.size, dtype=jnp.int32).reshape(operand.shape)
    new = operand.zero.size + jnp.arange(updates.zero.size, dtype=jnp.int32)
    numbers = jax.lax.scatter(old, indices.value, new.reshape(updates.shape), **options)
    found = _looked_up(np.asarray(numbers), [operand, updates], n)
    ones = jnp.ones(updates.shape, jnp.int32)
    hits = np.asarray(jax.lax.scatter_add(0 * old, indices.value, ones, **options))
    if hits.max(initial=0) < 2:
        return [found]
    # Which of several updates of an entry stays is not defined.
    zero = np.where(hits > 1, updates.zero.all(), found.zero)
    union = everything(operand.shape, [updates], n).dense(n)
    return [dependent(np.where((hits > 1)[..., None], union, found.dense(n)), zero)]


@_rule("reduce_window_sum", "reduce_window_max", "cumsum", "cummax", "cumlogsumexp", "cumprod",
       "cummin")  # fmt: skip
def _window(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    name, params = equation.primitive.name, equation.params
    sets = operands[0].dense(n)
    if not name.startswith("cum"):
        window = jax.vmap(lambda a: equation.primitive.bind(a, **params), -1, -1)
        shape = shapes(equation)[0]
        return [dependent(by_word(window, sets), np.zeros(shape, bool))]
    axis, back = params["axis"], slice(None, None, -1 if params["reverse"] else 1)
    turned = np.moveaxis(sets, axis, 0)[back]
    found = np.moveaxis(np.bitwise_or.accumulate(turned, axis=0)[back], 0, axis)
    zero = np.moveaxis(operands[0].zero, axis, 0)[back]
    zero = np.moveaxis(np.logical_and.accumulate(zero, axis=0)[back], 0, axis)
    # A sum of zeros is 0, a running maximum or product of them too, but exp(0) is not.
    return [dependent(found, zero & (name != "cumlogsumexp"))]


@_rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_or", "reduce_and",
       "argmax", "argmin")  # fmt: skip
def _reduce(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    axes = tuple(equation.params["axes"])
    name, shape = equation.primitive.name, operands[0].shape
    zero = operands[0].zero.all(axes) & (not name.startswith("arg"))
    if name != "reduce_sum":  # of no entries at all the largest is -inf, and the product 1
        zero &= all(shape[axis] for axis in axes)
    return [dependent(united(operands[0].dense(n), axes), zero)]


@_rule("sort", "top_k")
def _along(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    params = equation.params
    axis = params.get("dimension", params.get("axis", operands[0].zero.ndim - 1))
    sets = united(_broadest(operands[0].shape, operands, n), (axis,), keepdims=True)
    return [
        dependent(np.broadcast_to(sets, (*shape, words(n))), np.zeros(shape, bool))
        for shape in shapes(equation)
    ]
