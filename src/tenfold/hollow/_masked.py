"""The two-sided masked MLP: every x_j, j != i, reaches h_i in one pass."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, PyTree

from tenfold.base.typing import Key, RealScalarLike
from tenfold.hollow._conditioner import Conditioner, Offset, check_shape, check_sizes, uniform


class MaskedMLP(Conditioner):
    r"""Two masked MLPs side by side, one for the x before i and one for those after it.

    A hidden unit of the forward half has a degree m in 1..d-1: it sees x_1..x_m and feeds the h_i
    with i > m. A unit of the reverse half sees x_{m+1}..x_d and feeds those with i <= m. Between
    hidden layers masks are not strict (m <= m', and m >= m'). The halves meet in h_i only: the
    first half of its entries is from the forward units, the rest from the reverse ones (both feed
    the one entry if d_h = 1).

    Every layer has every degree, so that no pair is lost; hence `width >= 2 (d - 1)`.

    **Cost:** one pass of d H + (L - 1) H^2 / 2 + H d d_h / 2 products for L hidden layers of width
    H, plus the masks, which take a pass over the weights at each call: `fold_masks` applies them
    once for many calls.

    Source: two MADEs (Germain et al. 2015) as arXiv 1912.03579 has them.
    """

    first: Float[Array, "width d"]
    hidden: tuple[Float[Array, "2 half half"], ...]
    last: tuple[Float[Array, "half forward"], Float[Array, "half reverse"]]
    bias: Float[Array, "d d_h"]
    hidden_bias: tuple[Float[Array, " width"], ...]
    offset: Offset
    activation: Callable = eqx.field(static=True)
    folded: bool = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        d_h: int,
        width: int,
        depth: int = 1,
        *,
        context: int = 0,
        activation: Callable = jnp.tanh,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:**

        - `size`, `d_h`: d, and the length of each h_i.
        - `width`, `depth`: size and number of the hidden layers.
        - `context`: length of a context vector, which is then to be passed as `args`; 0 for none.
        - `activation`: of arrays, smooth.

        **Raises:** ValueError for a `width` below 2 (d - 1), where pairs would be lost.
        """
        check_sizes("MaskedMLP", size=size, d_h=d_h, width=width, depth=depth)
        half = max(1, width // 2)
        if half < size - 1:
            raise ValueError(
                f"MaskedMLP: `width` must be at least 2 (d - 1) = {2 * (size - 1)} for d = {size}, "
                f"got {width}: with fewer hidden units some x_j would not reach some h_i"
            )
        keys = iter(jax.random.split(key, 2 * depth + 4))
        see = _degrees(size, half)
        seen = np.concatenate([see, size - see])
        first = uniform(next(keys), (2 * half, size), 1, dtype)
        self.first = first / np.sqrt(np.maximum(seen, 1)).astype(first.dtype)[:, None]
        self.hidden = tuple(
            uniform(next(keys), (2, half, half), (half + 1) // 2, dtype) for _ in range(depth - 1)
        )
        self.hidden_bias = tuple(jnp.zeros(2 * half, first.dtype) for _ in range(depth - 1))
        self.last = tuple(  # pyright: ignore
            uniform(next(keys), (half, size * n), half, dtype) for n in _shares(d_h)
        )
        self.bias = uniform(next(keys), (size, d_h), 4, dtype)
        self.offset = Offset(2 * half, context, dtype, next(keys))
        self.activation, self.folded = activation, False

    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Float[Array, "d d_h"]:
        """h at (t, x): x has shape (d,), or any other of d entries."""
        d, d_h = self.bias.shape
        check_shape("MaskedMLP", x.reshape(-1), (d,))
        net = self if self.folded else self.fold()
        a = self.activation(net.first @ x.reshape(-1) + self.offset(t, args))
        for weight, bias in zip(net.hidden, self.hidden_bias):
            mixed = jnp.einsum("sij,sj->si", weight, a.reshape(2, -1)).reshape(-1)
            a = self.activation(mixed + bias)
        halves = [(u @ w).reshape(d, -1) for u, w in zip(a.reshape(2, -1), net.last)]
        return self.bias + (sum(halves) if d_h == 1 else jnp.concatenate(halves, axis=1))

    def fold(self) -> "MaskedMLP":
        """With the masks applied to the weights, and not at each call any more."""
        d, half = self.bias.shape[0], self.first.shape[0] // 2
        degree = jnp.asarray(_degrees(d, half), jnp.int32)
        entry = jnp.arange(d, dtype=jnp.int32)
        sees = entry[None] < degree[:, None]
        rises = degree[None] <= degree[:, None]
        first = jnp.where(jnp.concatenate([sees, ~sees]), self.first, 0)
        between = jnp.stack([rises, rises.T])
        hidden = tuple(jnp.where(between, weight, 0) for weight in self.hidden)
        feeds = entry[None] >= degree[:, None]
        last = tuple(
            jnp.where(mask[..., None], weight.reshape(half, d, -1), 0).reshape(weight.shape)
            for mask, weight in zip((feeds, ~feeds), self.last)
        )
        where = lambda m: (m.first, m.hidden, m.last)  # noqa: E731
        net = eqx.tree_at(where, self, (first, hidden, last))
        return _as_folded(net)


def _degrees(d: int, half: int) -> np.ndarray:
    """1..d-1, evenly and in order."""
    return 1 + np.arange(half) * (d - 1) // half


def _shares(d_h: int) -> tuple[int, int]:
    return (1, 1) if d_h == 1 else (d_h - d_h // 2, d_h // 2)


def _as_folded(net: MaskedMLP) -> MaskedMLP:
    """A copy with the static flag set, which `tree_at` can't reach."""
    copy = object.__new__(MaskedMLP)
    for name, value in vars(net).items():
        object.__setattr__(copy, name, True if name == "folded" else value)
    return copy


def fold_masks(tree: PyTree) -> PyTree:
    """`tree` with the masks of every `MaskedMLP` in it applied to the weights once.

    For many calls with the same parameters, as in an ODE solve. It is differentiable, and its
    gradient keeps the masks: in a loss, fold first and solve after. Optimise the parameters of the
    net before folding, not of the folded one, whose zeros nothing protects.
    """
    is_masked = lambda node: isinstance(node, MaskedMLP)  # noqa: E731
    return jax.tree.map(
        lambda node: node.fold() if is_masked(node) and not node.folded else node,
        tree,
        is_leaf=is_masked,
    )
