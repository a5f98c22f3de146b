"""Dimension-wise derivatives of a HollowNet, its divergence, and its Jacobian in two parts."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array

from tenfold.base import jet
from tenfold.base import value_and_divergence as value_and_divergence_of
from tenfold.base.typing import RealScalarLike, Scalar
from tenfold.hollow._net import HollowNet

Mode = Literal["taylor", "forward", "reverse"]
"""How derivatives of order 1..k are taken. `taylor`: k passes of dense work. `forward`, `reverse`:
nested, 2^k passes; for order 1 all cost the same, and `reverse` keeps the forward pass in memory.
"""


def dimwise(
    net: HollowNet | Callable,
    t: RealScalarLike,
    x: Array,
    args: Any = None,
    *,
    order: int = 1,
    mode: Mode = "taylor",
) -> tuple[Array, tuple[Array, ...]]:
    r"""f(t, x) and (D_1 f, ..., D_k f), all shaped as x.

    $$(D_k f)_i = \frac{\partial^k f_i}{\partial x_i^k}$$

    **Arguments:** `order`: k >= 1. `mode`: see `Mode`; the results are the same.

    **Raises:** ValueError for another order or mode, and for a field that is no `HollowNet`.

    **Cost:** one pass through the conditioner, whatever the order; order + 1 through the
    transformer. Gradients with respect to anything are right, the conditioner's parameters
    included.

    Source: arXiv 1912.03579, section 2.2.
    """
    if order < 1 or mode not in _MODES:
        raise ValueError(
            f"dimwise: `order` must be at least 1 and `mode` one of {', '.join(_MODES)}; got "
            f"{order} and {mode!r}"
        )
    value, derivatives = _MODES[mode](_as_hollow("dimwise", net).held(t, x, args), x, order)
    return value, tuple(derivatives)


def _as_hollow(who: str, net: HollowNet | Callable) -> HollowNet:
    if not isinstance(net, HollowNet):
        raise ValueError(
            f"{who}: `net` must be a HollowNet, got {getattr(net, '__name__', type(net).__name__)};"
            " of other fields `tenfold.base.jacobian_diagonal` and `value_and_divergence` tell the "
            "diagonal and its sum"
        )
    return net


def _taylor(act: Callable, x: Array, order: int) -> tuple[Array, Any]:
    ones, zeros = jnp.ones_like(x), jnp.zeros_like(x)
    return jet.jet(act, (x,), ([ones, *[zeros] * (order - 1)],))


def _forward(act: Callable, x: Array, order: int) -> tuple[Array, Any]:
    def wider(f: Callable) -> Callable:
        def both(u: Array) -> tuple:
            values, slopes = jax.jvp(f, (u,), (jnp.ones_like(u),))
            return (values[0], *slopes)

        return both

    f: Callable = lambda u: (act(u),)  # noqa: E731
    for _ in range(order):
        f = wider(f)
    value, *derivatives = f(x)
    return value, derivatives


def _reverse(act: Callable, x: Array, order: int) -> tuple[Array, Any]:
    def wider(f: Callable) -> Callable:
        def both(u: Array) -> tuple[Array, tuple]:
            last, pull, before = jax.vjp(f, u, has_aux=True)
            return pull(jnp.ones_like(last))[0], (*before, last)

        return both

    f: Callable = lambda u: (act(u), ())  # noqa: E731
    for _ in range(order):
        f = wider(f)
    last, (value, *before) = f(x)
    return value, [*before, last]


_MODES = {"taylor": _taylor, "forward": _forward, "reverse": _reverse}


def value_and_divergence(
    net: HollowNet | Callable, t: RealScalarLike, x: Array, args: Any = None
) -> tuple[Array, Scalar]:
    """f(t, x) and sum_i df_i/dx_i, exactly, for one extra pass through the transformer.

    `tenfold.base.value_and_divergence`, which does the same for any field.
    """
    return value_and_divergence_of(net, t, x, args)


def divergence(net: HollowNet | Callable, t: RealScalarLike, x: Array, args: Any = None) -> Scalar:
    """sum_i df_i/dx_i: the second half of `value_and_divergence`."""
    return value_and_divergence(net, t, x, args)[1]


def dimwise_laplacian(
    net: HollowNet | Callable, t: RealScalarLike, x: Array, args: Any = None
) -> Scalar:
    """sum_i d^2 f_i/dx_i^2, of the vector field f; not the Laplacian of a scalar function."""
    net = _as_hollow("dimwise_laplacian", net)
    return jnp.sum(dimwise(net, t, x, args, order=2)[1][1])


class _HollowProduct(eqx.Module):
    """v -> (dtau/dh)(dh/dx) v."""

    net: HollowNet
    t: Any
    x: Array
    args: Any

    def __call__(self, v: Array) -> Array:
        def through_h(x: Array) -> Array:
            return self.net.held(self.t, x, self.args)(self.x)

        return jax.jvp(through_h, (self.x,), (v,))[1]


class JacobianParts(NamedTuple):
    """df/dx = diagonal + hollow; see `jacobian_parts`."""

    diagonal: Array
    """df_i/dx_i, shaped as x."""
    hollow: lx.AbstractLinearOperator
    """The rest: `hollow.mv(v)`, `hollow.T.mv(w)`; one JVP or VJP each, no matrix."""

    @property
    def operator(self) -> lx.AbstractLinearOperator:
        """The whole Jacobian."""
        return lx.DiagonalLinearOperator(self.diagonal) + self.hollow

    def implicit(self, scale: Any) -> tuple[lx.AbstractLinearOperator, lx.AbstractLinearOperator]:
        """I - scale df/dx, and the inverse of its diagonal to precondition it by:

        `lx.linear_solve(a, b, lx.GMRES(...), options={"preconditioner": p})`.
        """
        scale = jnp.asarray(scale, self.diagonal.dtype)
        diagonal = 1 - scale * self.diagonal
        whole = lx.DiagonalLinearOperator(diagonal) - scale * self.hollow
        return whole, lx.DiagonalLinearOperator(1 / diagonal)


def jacobian_parts(
    net: HollowNet | Callable, t: RealScalarLike, x: Array, args: Any = None
) -> JacobianParts:
    """The Jacobian of `net` at (t, x) as a diagonal and a hollow Lineax operator.

    **Cost:** of the diagonal one extra pass through tau; of each product with the hollow part one
    JVP (or VJP) of the net.
    """
    net = _as_hollow("jacobian_parts", net)
    _, diagonal = net.value_and_jacobian_diagonal(t, x, args)
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return JacobianParts(diagonal, lx.FunctionLinearOperator(_HollowProduct(net, t, x, args), like))
