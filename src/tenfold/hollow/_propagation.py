"""How dependence moves through one equation, by kinds of primitives.

A primitive that is not listed is taken to mix all of its operands: safe, if not always sharp.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from tenfold.hollow._sets import Rule, Sets, dependent, everything

RULES: dict[str, Rule] = {}

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


def shapes(equation: core.JaxprEqn) -> list[tuple[int, ...]]:
    return [tuple(getattr(v.aval, "shape", ())) for v in equation.outvars]


def mixed(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    return [everything(shape, operands, n) for shape in shapes(equation)]


@_rule(*ELEMENTWISE)
def _elementwise(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    name, found = equation.primitive.name, []
    if name == "select_n" and operands[0].value is not None:
        return [_selected(np.asarray(operands[0].value, int), operands[1:], n)]
    for shape, inside in zip(shapes(equation), _each_output(name, operands)):
        sets = np.zeros((*shape, n), bool)
        for operand in inside:
            if operand.sets is not None:
                sets |= operand.sets
        found.append(dependent(sets, np.broadcast_to(_zeros(equation, inside), shape)))
    return found


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
    which = np.broadcast_to(which, shape)
    zero = np.choose(which, [case.zero for case in cases])
    if all(case.sets is None for case in cases):
        return Sets(shape, None, zero)
    sets = np.choose(which[..., None], [case.dense(n) for case in cases])
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
    flat = [operand.dense(n).reshape(-1, n) for operand in data]
    return dependent(np.concatenate([*flat, np.zeros((1, n), bool)])[numbers], zero[numbers])


@_rule("scatter")
def _scatter(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> Sequence[Sets]:
    operand, indices, updates = operands
    if indices.value is None:
        return mixed(equation, operands, n)
    old = jnp.arange(operand.zero.size, dtype=jnp.int32).reshape(operand.shape)
    new = operand.zero.size + jnp.arange(updates.zero.size, dtype=jnp.int32)
    names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    options = {name: equation.params[name] for name in names}
    numbers = jax.lax.scatter(old, indices.value, new.reshape(updates.shape), **options)
    return [_looked_up(np.asarray(numbers), [operand, updates], n)]


@_rule("dot_general")
def _dot(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    """Of indicators: a positive sum has a term in which neither factor is a known 0."""
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a, b = operands
    a_order = _order(a, left_batch, left, last=True)
    b_order = _order(b, right_batch, right, last=False)
    count = len(left_batch), len(left)
    here = _matrices(~a.zero, a_order, count, last=True)
    there = _matrices(~b.zero, b_order, count, last=False)
    shape = shapes(equation)[0]
    sets = np.zeros((*shape, n), bool)
    if a.sets is not None:
        sides = [_matrices(a.sets[..., s], a_order, count, last=True) for s in range(n)]
        sets |= np.stack([(side @ there > 0.5).reshape(shape) for side in sides], -1)
    if b.sets is not None:
        sides = [_matrices(b.sets[..., s], b_order, count, last=False) for s in range(n)]
        sets |= np.stack([(here @ side > 0.5).reshape(shape) for side in sides], -1)
    return [dependent(sets, (here @ there < 0.5).reshape(shape))]


def _order(operand: Sets, batch: Sequence[int], summed: Sequence[int], *, last: bool) -> list[int]:
    free = [i for i in range(len(operand.shape)) if i not in (*batch, *summed)]
    return [*batch, *free, *summed] if last else [*batch, *summed, *free]


def _matrices(a: np.ndarray, order: Sequence[int], count: tuple[int, int], *, last: bool) -> Any:
    """(batch, free, summed) or (batch, summed, free), of float32."""
    batch, summed = count
    a = a.transpose(order).astype(np.float32)
    split = a.ndim - summed if last else batch + summed
    sizes = [a.shape[:batch], a.shape[batch:split], a.shape[split:]]
    return a.reshape([int(np.prod(size, dtype=int)) for size in sizes])


@_rule("conv_general_dilated")
def _convolution(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    params = dict(equation.params)
    params |= {"preferred_element_type": np.dtype(np.float32), "precision": None}

    def product(a: Any, b: Any) -> Any:
        return equation.primitive.bind(a, b, **params)

    a, b = operands
    left, right = (jnp.asarray(~operand.zero, jnp.float32) for operand in operands)
    zero = np.asarray(product(left, right)) < 0.5
    sets = np.zeros((*zero.shape, n), bool)
    if a.sets is not None:
        sets |= _positive(jax.vmap(product, (-1, None), -1)(_indicator(a.sets), right))
    if b.sets is not None:
        sets |= _positive(jax.vmap(product, (None, -1), -1)(left, _indicator(b.sets)))
    return [dependent(sets, zero)]


def _indicator(sets: np.ndarray) -> Any:
    return jnp.asarray(sets, jnp.float32)


def _positive(count: Any) -> np.ndarray:
    return np.asarray(count) > 0.5


@_rule("reduce_window_sum", "reduce_window_max", "cumsum", "cummax", "cumlogsumexp", "cumprod",
       "cummin")  # fmt: skip
def _window(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    name, params = equation.primitive.name, equation.params
    sets = operands[0].dense(n)
    if not name.startswith("cum"):
        primitive = equation.primitive
        found = jax.vmap(lambda a: primitive.bind(a, **params), -1, -1)(_indicator(sets))
        return [dependent(_positive(found), np.zeros(found.shape[:-1], bool))]
    axis, back = params["axis"], slice(None, None, -1 if params["reverse"] else 1)
    turned = np.moveaxis(sets, axis, 0)[back]
    found = np.moveaxis(np.logical_or.accumulate(turned, axis=0)[back], 0, axis)
    zero = np.moveaxis(operands[0].zero, axis, 0)[back]
    zero = np.moveaxis(np.logical_and.accumulate(zero, axis=0)[back], 0, axis)
    # A sum of zeros is 0, a running maximum or product of them too, but exp(0) is not.
    return [dependent(found, zero & (name != "cumlogsumexp"))]


@_rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_or", "reduce_and",
       "argmax", "argmin")  # fmt: skip
def _reduce(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    axes = tuple(equation.params["axes"])
    zero = operands[0].zero.all(axes) & (not equation.primitive.name.startswith("arg"))
    return [dependent(operands[0].dense(n).any(axes), zero)]


@_rule("sort", "top_k")
def _along(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    params = equation.params
    axis = params.get("dimension", params.get("axis", operands[0].zero.ndim - 1))
    sets = np.zeros((*operands[0].shape, n), bool)
    for operand in operands:
        sets |= operand.dense(n)
    sets = sets.any(axis, keepdims=True)
    return [
        dependent(np.broadcast_to(sets, (*shape, n)), np.zeros(shape, bool))
        for shape in shapes(equation)
    ]
