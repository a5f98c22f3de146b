"""How dependence moves through products: matrices and convolutions.

A sum of products depends on what its terms do, except those with a factor that is a known 0. Masks
and weights have many rows alike (all of them, where no entry is a known 0), which are worked once.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from tenfold.hollow._sets import Sets, by_word, dependent, kept, shapes, united, words


def dot(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    """The rule of `dot_general`."""
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a, b = operands
    a_axes, b_axes = (list(left_batch), list(left)), (list(right_batch), list(right))
    here, there = _matrices(~a.zero, *a_axes), _matrices(~b.zero, *b_axes)
    shape = shapes(equation)[0]
    terms = here.astype(np.float32) @ there.astype(np.float32).swapaxes(1, 2)
    sets = np.zeros((*terms.shape, words(n)), np.uint64)
    if a.sets is not None:
        sets |= _reached(_matrices(a.sets, *a_axes), there)
    if b.sets is not None:
        sets |= _reached(_matrices(b.sets, *b_axes), here).swapaxes(1, 2)
    sets = sets.reshape(*shape, words(n))
    return [dependent(sets, (terms < 0.5).reshape(shape))]


def _matrices(a: np.ndarray, batch: list[int], summed: list[int]) -> np.ndarray:
    """(batch, free, summed), and the words behind if `a` is of sets."""
    last = [a.ndim - 1] if a.dtype == np.uint64 else []
    free = [i for i in range(a.ndim) if i not in (*batch, *summed, *last)]
    sizes = [int(np.prod([a.shape[i] for i in axes], dtype=int)) for axes in (batch, free, summed)]
    sizes += [a.shape[i] for i in last]
    return a.transpose(*batch, *free, *summed, *last).reshape(sizes)


def _reached(sets: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[b, f, g]: the union over s of sets[b, f, s] where seen[b, g, s]."""
    rows, row_of = _alike(sets, 1)
    columns, column_of = _alike(seen, 1)
    sets, seen = sets[:, rows], seen[:, columns]
    terms, term_of = _alike(seen, 2)
    found = np.zeros((*sets.shape[:2], seen.shape[1], sets.shape[-1]), np.uint64)
    for i, term in enumerate(terms):
        union = united(sets[:, :, term_of == i], (2,))[:, :, None]
        found |= kept(union, seen[:, None, :, term])
    return found[:, row_of][:, :, column_of]


def _alike(a: np.ndarray, axis: int) -> tuple[list[int], np.ndarray]:
    """The first of each kind along an axis, and of which kind each is."""
    numbers: dict[bytes, int] = {}
    first = []
    kinds = np.zeros(a.shape[axis], int)
    for i, row in enumerate(np.moveaxis(a, axis, 0)):
        kinds[i] = numbers.setdefault(row.tobytes(), len(numbers))
        if kinds[i] == len(first):
            first.append(i)
    return first, kinds


def convolution(equation: core.JaxprEqn, operands: Sequence[Sets], n: int) -> list[Sets]:
    """The rule of `conv_general_dilated`."""
    a, b = operands
    shape, channels = shapes(equation)[0], equation.params["dimension_numbers"].out_spec[1]
    if _has_channels_alike(equation, b):
        a, b = _one_channel(equation, a, b)
    params = {**equation.params, "preferred_element_type": np.dtype(np.float32), "precision": None}

    def product(a: Any, b: Any) -> Any:
        return equation.primitive.bind(a, b, **params)

    left, right = (jnp.asarray(~operand.zero, jnp.float32) for operand in (a, b))
    zero = np.asarray(product(left, right)) < 0.5
    sets = np.zeros((*zero.shape, words(n)), np.uint64)
    if a.sets is not None:
        sets |= by_word(lambda bits: jax.vmap(product, (-1, None), -1)(bits, right), a.sets)
    if b.sets is not None:
        sets |= by_word(lambda bits: jax.vmap(product, (None, -1), -1)(left, bits), b.sets)
    if zero.shape != shape:
        zero, sets = (np.repeat(o, shape[channels], channels) for o in (zero, sets))
    return [dependent(sets, zero)]


def _has_channels_alike(equation: core.JaxprEqn, kernel: Sets) -> bool:
    params = equation.params
    out, into = params["dimension_numbers"].rhs_spec[:2]
    groups = params["feature_group_count"] * params["batch_group_count"]
    if kernel.sets is not None or groups > 1 or not kernel.zero.size:
        return False
    first = kernel.zero.take([0], out).take([0], into)
    return bool((kernel.zero == first).all())


def _one_channel(equation: core.JaxprEqn, a: Sets, kernel: Sets) -> tuple[Sets, Sets]:
    numbers = equation.params["dimension_numbers"]
    into, (out, summed) = numbers.lhs_spec[1], numbers.rhs_spec[:2]
    zero = kernel.zero.take([0], out).take([0], summed)
    narrow = a.zero.all(into, keepdims=True)
    sets = None if a.sets is None else united(a.sets, (into,), keepdims=True)
    return Sets(narrow.shape, sets, narrow), Sets(zero.shape, None, zero)
