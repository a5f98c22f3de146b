"""What each entry of an array depends on: an abstract value for the proof of hollowness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend import core

_WORD = 64
_FULL = np.uint64(2**64 - 1)


@dataclass(eq=False)
class Sets:
    """An array in which entry e may depend on the inputs j in `sets[e]`, and on no other.

    - `shape`, of the array.
    - `sets`: (*shape, words) of 64 bits, one an input (see `packed`); `None` if no entry depends
      on any input.
    - `zero`: (*shape) booleans, the entries that are 0 whatever the inputs are. They depend on
      nothing, and what is multiplied by them does not either.
    - `value`: the array itself where it is known.
    - `origin`: the equation that made it, and that equation's operands.
    """

    shape: tuple[int, ...]
    sets: np.ndarray | None
    zero: Any
    value: Any = None
    origin: tuple[core.JaxprEqn, Sequence["Sets"]] | None = field(default=None, repr=False)

    def __post_init__(self):
        self.zero = np.asarray(self.zero)  # of shape () NumPy makes scalars, which are no arrays

    def dense(self, n: int) -> np.ndarray:
        """`sets` with the empty one spelt out."""
        if self.sets is None:
            return np.zeros((*self.shape, words(n)), np.uint64)
        return self.sets

    def union(self) -> Any:
        """All inputs that some entry depends on, (words,); `None` for none."""
        return None if self.sets is None else united(self.sets, tuple(range(len(self.shape))))


def words(n: int) -> int:
    """That hold n bits."""
    return -(-n // _WORD)


def packed(bits: np.ndarray) -> np.ndarray:
    """(..., n) booleans as (..., words) of 64 bits: an eighth of the memory, and of the time."""
    packs = np.packbits(bits, axis=-1)
    rest = words(bits.shape[-1]) * 8 - packs.shape[-1]
    packs = np.pad(packs, [(0, 0)] * (packs.ndim - 1) + [(0, rest)])
    return packs.view(np.uint64)


def unpacked(sets: np.ndarray, n: int) -> np.ndarray:
    """The inverse of `packed`."""
    return np.unpackbits(np.ascontiguousarray(sets).view(np.uint8), axis=-1, count=n).view(bool)


def united(sets: np.ndarray, axes: tuple[int, ...], *, keepdims: bool = False) -> np.ndarray:
    """The unions along axes."""
    return np.bitwise_or.reduce(sets, axis=axes, keepdims=keepdims)


def kept(sets: np.ndarray, where: Any) -> np.ndarray:
    """`sets` where `where`, (*shape) booleans, and the empty one elsewhere."""
    return sets & np.where(where, _FULL, np.uint64(0))[..., None]


def by_word(function: Callable[[Any], Any], sets: np.ndarray) -> np.ndarray:
    """The sets that `function` makes of indicators: (*shape, 64) floats, and where they are > 0.

    64 inputs at a time, so that memory doesn't grow with their number.
    """
    found = []
    for word in range(sets.shape[-1]):
        bits = unpacked(sets[..., word : word + 1], _WORD)
        counts = np.asarray(function(jnp.asarray(bits, jnp.float32)))
        found.append(packed(counts > 0.5))
    return np.concatenate(found, axis=-1)


def known(value: Any) -> Sets:
    """A constant."""
    shape = jnp.shape(value)
    numeric = not isinstance(value, Array) or not jnp.issubdtype(value.dtype, jax.dtypes.extended)
    zero = np.asarray(value) == 0 if numeric else np.zeros(shape, bool)
    return Sets(shape, None, np.asarray(zero), value)


def unknown(shape: tuple[int, ...]) -> Sets:
    """An array of any values, such as a parameter, that does not depend on the inputs."""
    return Sets(shape, None, np.zeros(shape, bool))


def dependent(sets: Any, zero: Any) -> Sets:
    """An array of these sets; entries that are 0 are given the empty one."""
    zero = np.asarray(zero)
    sets = kept(sets, ~zero) if zero.any() else sets
    return Sets(zero.shape, sets if sets.any() else None, zero)


def inputs(shape: tuple[int, ...]) -> Sets:
    """The inputs themselves: entry j depends on j."""
    n = int(np.prod(shape, dtype=int))
    sets = packed(np.eye(n, dtype=bool))
    return dependent(sets.reshape(*shape, sets.shape[-1]), np.zeros(shape, bool))


def everything(shape: tuple[int, ...], operands: Sequence[Sets], n: int) -> Sets:
    """Every entry depends on all that any operand does: what is safe to say of any operation."""
    found = np.zeros(words(n), np.uint64)
    for operand in operands:
        union = operand.union()
        if union is not None:
            found = found | union
    return _each(shape, found)


def anything(shape: tuple[int, ...], n: int) -> Sets:
    """Every entry depends on all inputs: for an operation that remembers other operations."""
    return _each(shape, packed(np.ones(n, bool)))


def _each(shape: tuple[int, ...], one: np.ndarray) -> Sets:
    return dependent(np.broadcast_to(one, (*shape, one.size)), np.zeros(shape, bool))


def joined(a: Sets, b: Sets, n: int) -> Sets:
    """Either of the two."""
    if a.sets is None and b.sets is None:
        return Sets(a.shape, None, a.zero & b.zero)
    return dependent(a.dense(n) | b.dense(n), a.zero & b.zero)


def shapes(equation: core.JaxprEqn) -> list[tuple[int, ...]]:
    """Of the outputs."""
    return [tuple(getattr(v.aval, "shape", ())) for v in equation.outvars]


Rule = Callable[[core.JaxprEqn, Sequence[Sets], int], Sequence[Sets]]
"""`(equation, operands, n) -> outputs`."""
