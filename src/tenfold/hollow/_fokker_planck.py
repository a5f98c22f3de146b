"""The Fokker-Planck equation as a residual of any (density, drift, diffusion)."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tenfold.base import jet, value_and_jacobian_diagonal
from tenfold.base._checks import check_like
from tenfold.base.typing import RealScalarLike, Scalar, VectorField

Form = Literal["log", "density"]
TimeLogDensity = Callable[[Any, Any], Any]
"""`(t, x) -> log p(t, x)`, shape ()."""


def fokker_planck_residual(
    log_prob: TimeLogDensity,
    drift: VectorField,
    diffusion: VectorField,
    t: RealScalarLike,
    x: Array,
    args: Any = None,
    *,
    form: Form = "log",
) -> Scalar:
    r"""How far p is from obeying the Fokker-Planck equation of dX = f dt + g dW (Ito) at (t, x).

    With diagonal noise, G_i = g_i^2 and s = grad log p,

    $$r = \partial_t \log p + \sum_i [\partial_i f_i + f_i s_i - \frac{1}{2} \partial_i^2 G_i
      - (\partial_i G_i) s_i - \frac{1}{2} G_i (\partial_i s_i + s_i^2)]$$

    and p r in density form, which is the residual of dp/dt and underflows far from the data.

    **Arguments:**

    - `log_prob`: `(t, x) -> ()`. One with a method `score_and_curvature(t, x) -> (s, ds_i/dx_i)`,
      as `MixturePath`, is asked for them; else they cost d Hessian-vector products.
    - `drift`, `diffusion`: f and g, `(t, x, args)`, shaped as x. g may depend on x. For a
      `HollowNet` the derivatives cost one pass; else d of them.
    - `form`: "log" or "density".

    **Returns:** r, shape (). 0 at all (t, x) where p solves the equation.

    **Raises:** ValueError for another form, or a drift or diffusion not shaped as x.
    """
    if form not in ("log", "density"):
        raise ValueError(f"fokker_planck_residual: `form` must be 'log' or 'density', got {form!r}")
    t = jnp.asarray(t, x.dtype)
    log_p, log_p_t = jax.jvp(lambda t: log_prob(t, x), (t,), (jnp.ones_like(t),))
    s, curvature = _score_and_curvature(log_prob, t, x)
    f, slope = value_and_jacobian_diagonal(drift, t, x, args)
    g, g1, g2 = _squared_diffusion(diffusion, t, x, args)
    terms = slope + f * s - g2 / 2 - g1 * s - g * (curvature + s**2) / 2
    residual = log_p_t + jnp.sum(terms)
    return residual if form == "log" else jnp.exp(log_p) * residual


def _score_and_curvature(log_prob: TimeLogDensity, t: Any, x: Array) -> tuple[Array, Array]:
    known = getattr(log_prob, "score_and_curvature", None)
    if known is not None:
        return known(t, x)
    score = lambda t, x, args: jax.grad(log_prob, 1)(t, x)  # noqa: E731
    return value_and_jacobian_diagonal(score, t, x)


def _squared_diffusion(diffusion: Any, t: Any, x: Array, args: Any) -> tuple[Array, Array, Array]:
    """G = g^2, dG_i/dx_i and d^2 G_i/dx_i^2, shaped as x."""
    held = getattr(diffusion, "held", None)
    if held is not None:
        act = held(t, x, args)
        ones, zeros = jnp.ones_like(x), jnp.zeros_like(x)
        value, (first, second) = jet.jet(lambda u: act(u) ** 2, (x,), ([ones, zeros],))
        return value, first, second

    def squared(flat: Array) -> Array:
        g = diffusion(t, flat.reshape(x.shape), args)
        check_like("The output of `diffusion(t, x, args)`", g, "x", x)
        return g.reshape(-1) ** 2

    def along(e: Array) -> tuple:
        value, (first, second) = jet.jet(squared, (x.reshape(-1),), ([e, jnp.zeros_like(e)],))
        return value, jnp.sum(e * first), jnp.sum(e * second)

    basis = jnp.eye(x.size, dtype=x.dtype)
    value, first, second = jax.vmap(along, out_axes=(None, 0, 0))(basis)
    return value.reshape(x.shape), first.reshape(x.shape), second.reshape(x.shape)
