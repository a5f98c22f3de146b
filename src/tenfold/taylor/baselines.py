"""The rival ways to a solution's Taylor coefficients, with the signature of the online one.

They compute the same numbers; they differ in how much work they redo. Count it in the gradient:
forward alone, a compiler's common-subexpression elimination hides much of it.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.jet import jet as jax_jet
from jaxtyping import PyTree

from tenfold.base.jet import jet
from tenfold.base.typing import VectorField
from tenfold.taylor._coefficients import check_field, checked_state


def _autonomous(f: VectorField, t: Any, z: PyTree, order: int, args: PyTree):
    """g(y) for y = (t, z) as one flat list, with dt/dt = 1; and y itself."""
    t, z = checked_state(t, z, order)
    structure = jax.tree.structure(z)

    def g(y: list[Array]) -> list[Array]:
        state = jax.tree.unflatten(structure, y[1:])
        slope = f(y[0], state, args)
        check_field(state, slope)
        return [jnp.ones_like(y[0]), *jax.tree.leaves(slope)]

    return g, [t, *jax.tree.leaves(z)], structure


def _coefficients(derivatives: list[list[Array]], structure: Any) -> list[PyTree]:
    return [
        jax.tree.unflatten(structure, [leaf / float(math.factorial(k)) for leaf in y[1:]])
        for k, y in enumerate(derivatives)
    ]


def nested_coefficients(
    f: VectorField, t: Any, z: PyTree, order: int, *, args: PyTree = None
) -> list[PyTree]:
    """Nested JVPs: z^(k+1) = (d z^(k) / dy) g. 2^K - 1 evaluations' worth of work as traced."""
    g, y, structure = _autonomous(f, t, z, order, args)
    derivatives, current = [y], lambda y: y
    for _ in range(order):
        current = _along(current, g)
        derivatives.append(current(y))
    return _coefficients(derivatives, structure)


def _along(h, g):
    return lambda y: jax.jvp(h, (y,), (g(y),))[1]


def restarted_coefficients(
    f: VectorField, t: Any, z: PyTree, order: int, *, args: PyTree = None
) -> list[PyTree]:
    """`jax.experimental.jet` restarted at orders 1..K, as the authors' code has it: K^2 / 2.

    The k-th jet of k+1 terms makes derivative k+1 right and passes on one wrong top term, which
    the next jet overwrites. Fails where that jet does (softplus, relu, scan, ...), with its error.
    """
    g, y, structure = _autonomous(f, t, z, order, args)
    derivatives = [y]
    rows = [[jnp.ones_like(leaf) for leaf in y]]  # the first top term: anything
    for _ in range(order):
        series = [list(column) for column in zip(*rows)]
        # jet knows no pytrees, so the state travels as separate arguments.
        value, outputs = jax_jet(lambda *leaves: g(list(leaves)), y, series)
        rows = [value, *(list(row) for row in zip(*outputs))]
        derivatives = [y, *rows[:-1]]
    return _coefficients(derivatives, structure)


def doubling_coefficients(
    f: VectorField, t: Any, z: PyTree, order: int, *, args: PyTree = None
) -> list[PyTree]:
    r"""Newton doubling: each linearisation of a length-2s jet gives s more coefficients.

    With z_0..z_{s-1} known and the rest delta, f_k = f_k(z) + sum_{j=s}^{k} A_{k-j} delta_j for
    k < 2s, which is solved forward for delta. O(log K) jets, and s JVPs at each doubling.
    """
    g, y, structure = _autonomous(f, t, z, order, args)
    known = [y]
    while len(known) <= order:
        s = len(known)
        known += _double(g, known, min(s, order + 1 - s))
    return [jax.tree.unflatten(structure, row[1:]) for row in known]


def _double(g, known: list[list[Array]], count: int) -> list[list[Array]]:
    s = len(known)
    zero = [jnp.zeros_like(leaf) for leaf in known[0]]

    def slopes(unknown: list[list[Array]]) -> list[list[Array]]:
        """Coefficients s-1 .. s+count-2 of g, whose first depends on what is known only."""
        rows = [*known, *unknown][: s + count - 1]
        value, series = jet(g, (rows[0],), (rows[1:],), scaled=True)
        return [value, *series][s - 1 :]

    base, tangent = jax.linearize(slopes, [zero] * count)
    unknown: list[list[Array]] = []
    for k in range(count):
        correction = tangent(unknown + [zero] * (count - k))[k]
        slope = [b + c for b, c in zip(base[k], correction)]
        unknown.append([leaf / (s + k) for leaf in slope])
    return unknown
