"""HollowNet: a vector field whose Jacobian's diagonal costs one extra pass."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike
from tenfold.hollow._check import check_hollow, check_pointwise
from tenfold.hollow._conditioner import Offset, check_sizes, uniform
from tenfold.hollow._masked import MaskedMLP
from tenfold.nets import DenseMLP


class PointwiseMLP(eqx.Module):
    """tau: one small net of (x_i, h_i), the same for all i. (d,), (d, d_h) -> (d,).

    Any Module or function `(t, x, h, args) -> (d,)` may stand in its place if output i depends on
    x_i and on h alone. Smooth: with relu the second derivatives are 0.
    """

    own: Float[Array, " width"]
    given: Float[Array, "d_h width"]
    offset: Offset
    rest: DenseMLP
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        d_h: int,
        width: int,
        depth: int = 1,
        *,
        context: int = 0,
        activation: Callable = jnp.tanh,
        last_scale: float = 1.0,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:** `width`, `depth`: of the hidden layers. `last_scale`: small for a field
        that should begin near 0. The others as `MaskedMLP`'s.
        """
        check_sizes("PointwiseMLP", d_h=d_h, width=width, depth=depth)
        own, given, offset, rest = jax.random.split(key, 4)
        self.own = uniform(own, (width,), 1, dtype)
        self.given = uniform(given, (d_h, width), d_h, dtype)
        self.offset = Offset(width, context, dtype, offset)
        self.rest = DenseMLP(
            width, 1, width, depth - 1, activation=activation, last_scale=last_scale,
            dtype=dtype, key=rest,
        )  # fmt: skip
        self.activation = activation

    def __call__(
        self, t: RealScalarLike, x: Float[Array, " d"], h: Float[Array, "d d_h"], args: Any = None
    ) -> Float[Array, " d"]:
        mixed = x[:, None] * self.own[None] + h @ self.given + self.offset(t, args)[None]
        return self.rest(self.activation(mixed))[:, 0]


class HollowNet(eqx.Module):
    r"""f_i(t, x) = tau(x_i, h_i), with h = c(t, x) of which row i does not depend on x_i.

    $$\frac{\partial f}{\partial x} = \mathrm{diag}(\frac{\partial \tau_i}{\partial x_i})
      + \frac{\partial \tau}{\partial h} \frac{\partial h}{\partial x}$$

    The first term is diagonal, the second hollow. With h held fixed all f_i depend on x_i alone,
    so one pass with a tangent of ones gives the whole diagonal. h is held by closing over it:
    outer gradients flow through the conditioner. (`stop_gradient` would give the same values, and
    wrong gradients of them.)

    As a vector field it has `value_and_jacobian_diagonal`, which flows, Stein critics and implicit
    solvers look for, and use unasked.

    **Arguments:**

    - `conditioner`: c, `(t, x, args) -> (d, d_h)`: a `Conditioner`, or your own.
    - `transformer`: tau, `(t, x, h, args) -> (d,)`: a `PointwiseMLP`, or your own.
    - `like`: a state; if given, both are proved to keep their promise on it, once, on the host.

    **Raises:** ValueError that names what leaks, the operation and its source line.

    Source: arXiv 1912.03579, section 2.
    """

    conditioner: Callable
    transformer: Callable

    def __init__(self, conditioner: Callable, transformer: Callable, *, like: Any = None) -> None:
        self.conditioner, self.transformer = conditioner, transformer
        if like is not None:
            check_hollow(conditioner, like).require()
            h = eqx.filter_eval_shape(conditioner, 0.0, like, None)
            check_pointwise(transformer, like, h)

    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Array:
        """dx/dt of one example, shaped as x."""
        return self.held(t, x, args)(x)

    def held(self, t: RealScalarLike, x: Array, args: Any = None) -> Callable[[Array], Array]:
        """u -> tau(u, c(x)): f with h held at x, a function that acts entry by entry."""
        h = self.conditioner(t, x, args)
        if h.ndim != 2 or h.shape[0] != x.size:
            raise ValueError(
                f"HollowNet: `conditioner` must return ({x.size}, d_h) for a state of shape "
                f"{x.shape}, but returned {h.shape}"
            )

        def act(u: Array) -> Array:
            return self.transformer(t, u.reshape(-1), h, args).reshape(u.shape)

        return act

    def value_and_jacobian_diagonal(
        self, t: RealScalarLike, x: Array, args: Any = None
    ) -> tuple[Array, Array]:
        """(f, diagonal of df/dx), both shaped as x: one pass through c, two through tau."""
        return jax.jvp(self.held(t, x, args), (x,), (jnp.ones_like(x),))


def hollow_mlp(
    size: int,
    d_h: int = 16,
    width: int | None = None,
    depth: int = 1,
    *,
    tau_width: int = 32,
    tau_depth: int = 1,
    context: int = 0,
    activation: Callable = jnp.tanh,
    last_scale: float = 1.0,
    dtype: DTypeLike | None = None,
    key: Key,
) -> HollowNet:
    """A `HollowNet` of a `MaskedMLP` and a `PointwiseMLP`, for states of `size` entries.

    `width`, `depth` are the conditioner's; by default width = max(64, 2 (size - 1)).
    """
    width = max(64, 2 * (size - 1)) if width is None else width
    kind: dict[str, Any] = {"context": context, "activation": activation, "dtype": dtype}
    inner, outer = jax.random.split(key)
    return HollowNet(
        MaskedMLP(size, d_h, width, depth, key=inner, **kind),
        PointwiseMLP(d_h, tau_width, tau_depth, last_scale=last_scale, key=outer, **kind),
    )
