"""`jet` for curves known to all orders, `Tower` for curves found one order at a time."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tenfold.base.jet import _loops, _nodes, _scan  # noqa: F401  (they register their nodes)
from tenfold.base.jet._series import Coefficient, dense
from tenfold.base.jet._tower import Frame


class Tower:
    """Taylor coefficients of f along a curve that becomes known one order at a time.

    With u(s) = sum_k u_k s^k and f(u(s)) = sum_k v_k s^k, the k-th call of `push` takes u_k and
    returns v_k. Each call does the linear work of f once; elementwise work grows with k. This is
    what solutions of differential equations need, where u_{k+1} depends on v_k.

    **Arguments:**

    - `f`: any JAX function of pytrees of floating-point arrays. Functions behind jit, checkpoint
      and custom_jvp are entered; a primitive without a Taylor rule goes through its JVP.
    - `like`: example arguments (only shapes and dtypes are read).

    **Raises:** `ValueError` for an argument that is not floating point; `NotImplementedError`
    naming the primitive and its source line for one that can't be differentiated forward.
    """

    def __init__(self, f: Callable[..., PyTree], *like: PyTree):
        leaves, self._structure = jax.tree.flatten(like)
        for leaf in leaves:
            dtype = jnp.result_type(leaf)
            if not jnp.issubdtype(dtype, jnp.inexact):
                raise ValueError(
                    f"Taylor mode: every argument must be floating point, got {dtype}; "
                    "close over integers and booleans instead"
                )
        closed, self.out_shape = jax.make_jaxpr(f, return_shape=True)(*like)
        self._inputs: list[list[Coefficient]] = [[] for _ in leaves]
        self._frame = Frame(closed.jaxpr, closed.consts, [True] * len(leaves))

    def push_leaves(self, leaves: Sequence[Coefficient]) -> list[Coefficient]:
        """`push` on flat leaves, in which `None` stands for zero (but not at order 0)."""
        for series, leaf in zip(self._inputs, leaves):
            series.append(leaf)
        return self._frame.push(len(self._inputs[0]) - 1, self._inputs)

    def push(self, *coefficient: PyTree) -> PyTree:
        """The next coefficient of f, from the next coefficient of its arguments."""
        outputs = self.push_leaves(self._structure.flatten_up_to(coefficient))
        shapes, structure = jax.tree.flatten(self.out_shape)
        return jax.tree.unflatten(structure, [dense(o, s) for o, s in zip(outputs, shapes)])


def jet(
    f: Callable[..., PyTree],
    primals: Sequence[PyTree],
    series: Sequence[Sequence[PyTree]],
    *,
    scaled: bool = False,
) -> tuple[PyTree, list[PyTree]]:
    """Pushes curves through f: the derivatives of s -> f(x(s)) from those of x.

    $$\\frac{d^k}{ds^k} f(x(s)) \\Big|_{s=0}, \\quad k = 0, ..., K$$

    Unlike `jax.experimental.jet` it takes pytrees, and works through custom_jvp, scan, cond,
    checkpoint and every primitive that has a JVP.

    **Arguments:**

    - `f`: any function of `len(primals)` pytrees of floating-point arrays.
    - `primals`: x_0 of each argument.
    - `series`: for each argument the list of its derivatives of order 1..K (all lists equally
      long), each like the argument itself.
    - `scaled`: the entries of `series`, and of the result, are Taylor coefficients
      x^(k)(0) / k! instead of derivatives.

    **Returns:** f(x_0), and the list of K derivatives (or coefficients) of the output.

    **Raises:** `ValueError` when `series` doesn't fit `primals`; else as `Tower`.
    """
    lengths = {len(s) for s in series}
    if len(series) != len(primals) or len(lengths) > 1:
        raise ValueError(
            f"jet: `series` must hold one list for each of the {len(primals)} primals, all equally "
            f"long; got lengths {[len(s) for s in series]}"
        )
    for primal, curve in zip(primals, series):
        _check_like(primal, curve)
    tower, count = Tower(f, *primals), lengths.pop() if lengths else 0
    value, outputs = tower.push(*primals), []
    for k in range(1, count + 1):
        # A float, since 13! is no int32.
        factor = 1.0 if scaled else float(math.factorial(k))
        coefficients = [_map_floats(lambda c, n=factor: c / n, s[k - 1], factor) for s in series]
        outputs.append(_map_floats(lambda c, n=factor: n * c, tower.push(*coefficients), factor))
    return value, outputs


def _map_floats(f: Callable, tree: PyTree, factor: float) -> PyTree:
    """`f` on the leaves that it could change."""

    def at(leaf: Any) -> Any:
        return f(leaf) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) else leaf

    return tree if factor == 1 else jax.tree.map(at, tree)


def _check_like(primal: PyTree, curve: Sequence[PyTree]):
    def describe(tree: PyTree) -> Any:
        return jax.tree.map(lambda x: jnp.shape(x), tree), jax.tree.structure(tree)

    for k, coefficient in enumerate(curve, 1):
        if describe(coefficient) != describe(primal):
            raise ValueError(
                f"jet: coefficient {k} of `series` has shapes {describe(coefficient)[0]}, its "
                f"primal {describe(primal)[0]}"
            )
