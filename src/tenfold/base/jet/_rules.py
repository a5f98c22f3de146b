"""How one coefficient of each primitive's output follows from the coefficients before it.

A rule is a function of `Order`; it returns coefficient k of the output, given the coefficients
0..k of the inputs and 0..k-1 of the output. Primitives are named, not imported: a name that a
JAX version lacks is then simply never met. A primitive with no rule here is propagated through
its own JVP (`_nodes.Derivative`), so this table holds what is linear, bilinear, or hot.

Recurrences: Griewank and Walther, Evaluating Derivatives, chapter 13.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import jax.numpy as jnp
from jax import Array
from jax.extend.core import JaxprEqn, Literal

from tenfold.base.jet._series import (
    Coefficient,
    Series,
    add,
    convolve,
    integrate,
    scale,
    square,
    subtract,
)


@dataclass
class Order:
    """What a rule may see when it computes coefficient `k` >= 1 of one equation's output."""

    k: int
    equation: JaxprEqn
    inputs: Sequence[Series]
    """Coefficients 0..k of each operand."""
    output: Series
    """Coefficients 0..k-1 of the result."""
    memo: dict[str, list[Coefficient]] = field(default_factory=dict)
    """Auxiliary series of this equation, kept from order to order."""

    @property
    def values(self) -> list[Array]:
        """Coefficient 0 of each operand."""
        return values(self.inputs)

    @property
    def value(self) -> Array:
        """Coefficient 0 of the result."""
        return values([self.output])[0]

    def bind(self, *operands: Array, **changed: Any) -> Any:
        return self.equation.primitive.bind(*operands, **(self.equation.params | changed))


def values(series: Sequence[Series]) -> list[Array]:
    """Coefficients 0, which are arrays always."""
    return [cast(Array, u[0]) for u in series]


Rule = Callable[[Order], Coefficient]
RULES: dict[str, Rule] = {}

PIECEWISE_CONSTANT = frozenset([
    "sign", "floor", "ceil", "round", "stop_gradient", "is_finite", "eq", "ne", "lt", "le",
    "gt", "ge", "eq_to", "lt_to", "le_to", "argmax", "argmin", "nextafter", "iota", "and", "or",
    "not", "xor", "population_count", "random_bits",
])  # fmt: skip
"""Primitives whose outputs have no derivative wherever they are differentiable at all."""

LINEAR = frozenset([
    "add", "sub", "neg", "add_any", "broadcast_in_dim", "reshape", "transpose", "reduce_sum",
    "concatenate", "squeeze", "slice", "copy", "copy_p", "rev", "pad", "cumsum", "split",
    "expand_dims", "real", "imag", "conj", "complex", "convert_element_type",
    "reduce_precision", "dynamic_slice", "dynamic_update_slice", "scatter", "scatter-add",
    "scatter-sub", "scatter_add", "scatter_sub", "tile", "stack", "unstack", "psum",
    "all_gather", "ppermute", "reduce_window_sum", "fft", "device_put", "sharding_constraint",
    "optimization_barrier", "pvary",
])  # fmt: skip
"""Primitives linear in all their floating-point operands taken together (integer operands, such
as the indices of a slice, are fixed)."""


def has_rule(equation: JaxprEqn) -> bool:
    """Whether the tables here propagate this equation; else its JVP does."""
    name = equation.primitive.name
    if name == "pow":
        return isinstance(equation.invars[1], Literal)
    if (
        name == "scatter"
    ):  # of several updates to one place, any may win, but the same at each order
        return equation.params["unique_indices"]
    return name in LINEAR or name in RULES


def rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def linear(order: Order) -> list[Coefficient]:
    """L(u_k, w_k, ...) for a jointly linear primitive; zero when all of them are."""
    outvars = order.equation.outvars
    floats = [jnp.issubdtype(x.dtype, jnp.inexact) for x in order.values]
    top = [s[order.k] if f else s[0] for s, f in zip(order.inputs, floats)]
    if all(u is None for u, f in zip(top, floats) if f):
        return [None] * len(outvars)
    name = order.equation.primitive.name
    if name in ("add", "sub"):
        a, b = top
        return [add(a, b) if name == "add" else subtract(a, b)]
    zeroed = [jnp.zeros_like(x) if u is None else u for x, u in zip(order.values, top)]
    result = order.bind(*zeroed)
    return list(result) if order.equation.primitive.multiple_results else [result]


@rule("gather")
def _gather(order: Order) -> Coefficient:
    """What is filled in for indices out of bounds is a constant, so zero from order 1 on."""
    u_k, (_, indices) = order.inputs[0][order.k], order.values
    return None if u_k is None else order.bind(u_k, indices, fill_value=0)


@rule("mul")
def _mul(order: Order) -> Coefficient:
    u, w = order.inputs
    return convolve(u, w, order.k)


@rule("dot_general", "conv_general_dilated")
def _bilinear(order: Order) -> Coefficient:
    u, w = order.inputs
    return convolve(u, w, order.k, multiply=order.bind)


@rule("triangular_solve")
def _triangular_solve(order: Order) -> Coefficient:
    """A x = b:  A_0 x_k = b_k - sum_{j=1}^{k} A_j x_{k-j}; and likewise for x A = b."""
    p, (a, b) = order.equation.params, order.inputs

    def product(a_j: Array, x: Array) -> Array:
        beyond = int(p["unit_diagonal"])  # a diagonal of ones is not read
        a_j = jnp.tril(a_j, -beyond) if p["lower"] else jnp.triu(a_j, beyond)
        a_j = jnp.conj(a_j) if p["conjugate_a"] else a_j
        a_j = jnp.matrix_transpose(a_j) if p["transpose_a"] else a_j
        return a_j @ x if p["left_side"] else x @ a_j

    known = convolve([None, *a[1:]], [*order.output, None], order.k, multiply=product)
    rest = subtract(b[order.k], known)
    return None if rest is None else order.bind(order.values[0], rest)


@rule("div")
def _div(order: Order) -> Coefficient:
    """v = u / w:  v_k = (u_k - sum_{j<k} v_j w_{k-j}) / w_0."""
    u, w = order.inputs
    known = convolve([*order.output, None], w, order.k)
    numerator = subtract(u[order.k], known)
    return None if numerator is None else numerator / order.values[1]


@rule("square")
def _square(order: Order) -> Coefficient:
    return square(order.inputs[0], order.k)


def _power(order: Order, n: int, k: int) -> Series:
    """Coefficients 0..k of u^n by binary splitting, each new one computed once."""
    u = order.inputs[0]
    if n == 1:
        return u
    known = order.memo.setdefault(f"power {n}", [])
    left, right = _power(order, n // 2, k), _power(order, n - n // 2, k)
    while len(known) <= k:
        even = n % 2 == 0
        known.append(square(left, len(known)) if even else convolve(left, right, len(known)))
    return known


def _integer_power(order: Order, n: int) -> Coefficient:
    """Products, so that u_0 = 0 is no special case; a negative power divides 1 by them."""
    k = order.k
    if n == 0:
        return None
    w = _power(order, abs(n), k)
    if n > 0:
        return w[k]
    known = convolve([*order.output, None], w, k)
    return None if known is None else -known / values([w])[0]


@rule("integer_pow")
def _integer_pow(order: Order) -> Coefficient:
    return _integer_power(order, order.equation.params["y"])


@rule("pow")
def _literal_pow(order: Order) -> Coefficient:
    """v = u^r, r a number:  k u_0 v_k = sum_{j=1}^{k} (r j - (k - j)) u_j v_{k-j}.

    At u_0 = 0 it has k < r vanishing derivatives; the next one is infinite and comes out as nan.
    """
    k, r = order.k, float(cast(Literal, order.equation.invars[1]).val)
    if r.is_integer() and abs(r) < 1024:
        return _integer_power(order, int(r))
    u, (u_0, _) = order.inputs[0], order.values
    total = None
    for j in range(1, k + 1):
        u_j, v_j = u[j], order.output[k - j]
        if u_j is not None and v_j is not None:
            total = add(total, scale((r * j - (k - j)) / k, u_j * v_j))
    divisor = jnp.where(u_0 == 0, jnp.ones_like(u_0), u_0) if k < r else u_0
    return None if total is None else total / divisor


@rule("exp")
def _exp(order: Order) -> Coefficient:
    return integrate(order.inputs[0], order.output, order.k)


@rule("tanh")
def _tanh(order: Order) -> Coefficient:
    """v' = w u' with w = 1 - v^2."""
    v, v_0 = order.output, order.value
    w = order.memo.setdefault("w", [1 - v_0 * v_0])
    v_k = integrate(order.inputs[0], w, order.k)
    w.append(scale(-1, square([*v, v_k], order.k)))
    return v_k


@rule("logistic")
def _logistic(order: Order) -> Coefficient:
    """v' = w u' with w = v - v^2."""
    v, v_0 = order.output, order.value
    w = order.memo.setdefault("w", [v_0 * (1 - v_0)])
    v_k = integrate(order.inputs[0], w, order.k)
    w.append(subtract(v_k, square([*v, v_k], order.k)))
    return v_k


def _circular(order: Order, partner: Callable[[Array], Array], sign: int) -> Coefficient:
    """sin' = cos u', cos' = -sin u', the partner's series kept beside."""
    other = order.memo.setdefault("partner", [partner(order.values[0])])
    v_k = scale(sign, integrate(order.inputs[0], other, order.k))
    other.append(scale(-sign, integrate(order.inputs[0], order.output, order.k)))
    return v_k


@rule("sin")
def _sin(order: Order) -> Coefficient:
    return _circular(order, jnp.cos, 1)


@rule("cos")
def _cos(order: Order) -> Coefficient:
    return _circular(order, jnp.sin, -1)


@rule("max", "min")
def _extremum(order: Order) -> Coefficient:
    """The series of the larger (smaller) operand; half of each at a tie, as JAX's own JVP has."""
    (a, b), k = order.inputs, order.k
    if a[k] is None and b[k] is None:
        return None
    a_0, b_0 = order.values
    first = a_0 > b_0 if order.equation.primitive.name == "max" else a_0 < b_0
    zero = jnp.zeros_like(order.value)
    a_k, b_k = (zero if x is None else x for x in (a[k], b[k]))
    return jnp.where(first, a_k, jnp.where(a_0 == b_0, 0.5 * (a_k + b_k), b_k))


@rule("select_n")
def _select_n(order: Order) -> Coefficient:
    cases = order.inputs[1:]
    if all(case[order.k] is None for case in cases):
        return None
    which, *starts = order.values
    top = [case[order.k] for case in cases]
    return order.bind(which, *(jnp.zeros_like(x) if c is None else c for x, c in zip(starts, top)))
