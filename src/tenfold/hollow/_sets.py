"""What each entry of an array depends on: an abstract value for the proof of hollowness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend import core


@dataclass(eq=False)
class Sets:
    """An array in which entry e may depend on the inputs j with `sets[e, j]`, and on no other.

    - `shape`, of the array.
    - `sets`: (*shape, n) booleans; `None` if no entry depends on any input.
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
        return np.zeros((*self.shape, n), bool) if self.sets is None else self.sets

    def union(self) -> Any:
        """All inputs that some entry depends on, (n,); `None` for none."""
        if self.sets is None:
            return None
        return self.sets.reshape(-1, self.sets.shape[-1]).any(0)


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
    sets = sets & ~zero[..., None]
    return Sets(zero.shape, sets if sets.any() else None, zero)


def inputs(shape: tuple[int, ...]) -> Sets:
    """The inputs themselves: entry j depends on j."""
    n = int(np.prod(shape, dtype=int))
    return dependent(np.eye(n, dtype=bool).reshape(*shape, n), np.zeros(shape, bool))


def everything(shape: tuple[int, ...], operands: Sequence[Sets], n: int) -> Sets:
    """Every entry depends on all that any operand does: what is safe to say of any operation."""
    found = np.zeros(n, bool)
    for operand in operands:
        union = operand.union()
        if union is not None:
            found = found | union
    return dependent(np.broadcast_to(found, (*shape, n)), np.zeros(shape, bool))


def joined(a: Sets, b: Sets, n: int) -> Sets:
    """Either of the two."""
    if a.sets is None and b.sets is None:
        return Sets(a.shape, None, a.zero & b.zero)
    return dependent(a.dense(n) | b.dense(n), a.zero & b.zero)


Rule = Callable[[core.JaxprEqn, Sequence[Sets], int], Sequence[Sets]]
"""`(equation, operands, n) -> outputs`."""
