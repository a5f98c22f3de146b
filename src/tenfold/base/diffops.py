"""Differential operators on vector fields and scalar functions of pytrees.

**The one protocol.** A field that knows its Jacobian's diagonal has a method
`value_and_jacobian_diagonal(t, x, args) -> (value, diagonal)`, both shaped as x. Everything here
looks for that method and nothing else, also inside jit, vmap, checkpoint and reversed time
(`_wrappers.py`).
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tenfold.base._checks import as_float_tree, check_like
from tenfold.base._diagonal import Diagonal, checked
from tenfold.base._wrappers import apply
from tenfold.base.typing import RealLike, Scalar, State, VectorField

How = Callable[[VectorField, Any, Any, Any], tuple[Any, Any]]
"""`(field, t, x, args) -> (value, divergence)`: a Module, so that vmap may map its arrays."""


def _total(tree: PyTree) -> Scalar:
    leaves = jax.tree.leaves(tree)
    widest = max((a.dtype for a in leaves), key=lambda d: d.itemsize)
    return reduce(jnp.add, [jnp.sum(a).astype(widest) for a in leaves])


class Exact(eqx.Module):
    """The divergence itself, sum_i dF_i/dx_i.

    **Cost:** one extra pass if the field has `value_and_jacobian_diagonal`; else d JVPs over the
    standard basis, in one `vmap`: d times the work and d times the memory of one evaluation.
    """

    def __call__(
        self, field: VectorField, t: RealLike, x: PyTree, args: Any
    ) -> tuple[PyTree, Scalar]:
        value, diagonal = Diagonal()(field, t, x, args)
        return value, _total(diagonal)


EXACT = Exact()


class Hutchinson(eqx.Module):
    """The estimate e^T J e of tr J, unbiased if E[e e^T] = 1 (Hutchinson 1990).

    With J_s = (J + J^T)/2 its variance is 2 |J_s|_F^2 for normal e and
    2 (|J_s|_F^2 - |diag J|^2) for Rademacher e, so Rademacher is never worse.

    **Arguments:**

    - `probe`: e, of x's structure, shapes and dtypes: `rademacher_like(key, x)` or
      `normal_like(key, x)`. It is an argument, not drawn inside, because it has to stay the same
      through one ODE solve; else the solver sees noise and takes needless steps.

    **Cost:** one JVP, about two evaluations, with no extra memory (forward mode stores nothing).
    """

    probe: PyTree

    def __call__(
        self, field: VectorField, t: RealLike, x: PyTree, args: Any
    ) -> tuple[PyTree, Scalar]:
        check_like("`Hutchinson.probe`", self.probe, "x", x, dtype=True)
        value, tangent = jax.jvp(checked(field, t, args), (x,), (self.probe,))
        return value, _total(jax.tree.map(jnp.multiply, self.probe, tangent))


def value_and_divergence(
    field: VectorField, t: RealLike, x: State, args: Any = None, *, how: How = EXACT
) -> tuple[PyTree, Float[Array, "..."]]:
    """The field at (t, x) and its divergence sum_i dF_i/dx_i, over all entries of all leaves of x.

    **Arguments:**

    - `field`: `(t, x, args) -> dx/dt` of one example, shaped as x. If it is `vmapped(f)` or
      `eqx.filter_vmap(f)` then x has a leading batch axis.
    - `x`: a float array of any shape, or a pytree of them.
    - `how`: `Exact()` by default, which uses what the field knows of itself; `Hutchinson(probe)`,
      honoured even if the field knows; or another Module called as `how(field, t, x, args)`. Under
      a batch its arrays have the batch axis too: one probe an example.

    **Returns:** (value shaped as x, divergence of shape ()). For a field seen to be batched, shape
    (batch,). A field mapped by plain `jax.vmap` cannot be told from any other function: its trace
    is taken as a whole, shape ().

    **Raises:** ValueError at trace time if x is not of floats, or if the field's output or the
    probe is not shaped as x.

    **Cost:** see `Exact` and `Hutchinson`.
    """
    return apply(how, field, t, as_float_tree("x", x), args)


def value_and_jacobian_diagonal(
    field: VectorField, t: RealLike, x: State, args: Any = None
) -> tuple[PyTree, PyTree]:
    """The field at (t, x) and the diagonal dF_i/dx_i of its Jacobian, both shaped as x.

    For a batched field (see `value_and_divergence`) every example has its own diagonal.

    **Raises:** ValueError as `value_and_divergence`. **Cost:** that of `Exact`.
    """
    return apply(Diagonal(), field, t, as_float_tree("x", x), args)


def jacobian_diagonal(field: VectorField, t: RealLike, x: State, args: Any = None) -> PyTree:
    """The diagonal dF_i/dx_i, shaped as x: the second half of `value_and_jacobian_diagonal`."""
    return value_and_jacobian_diagonal(field, t, x, args)[1]


def hvp(f: Callable[[Any], Any], x: State, v: State) -> PyTree:
    """The Hessian of scalar `f` at x times v, shaped as x, by forward over reverse mode.

    **Raises:** ValueError if x is not of floats, or v has not its structure, shapes and dtypes.
    **Cost:** about four evaluations of f; no Hessian is formed.
    """
    x, v = as_float_tree("x", x), as_float_tree("v", v)
    check_like("`v`", v, "x", x, dtype=True)
    return jax.jvp(jax.grad(f), (x,), (v,))[1]


def gradient_and_laplacian(
    f: Callable[[Any], Any], x: State, *, how: How = EXACT
) -> tuple[PyTree, Scalar]:
    """The gradient of scalar `f` at x and its Laplacian sum_i d^2 f/dx_i^2.

    The Laplacian is the divergence of the gradient, so `how` means what it does in
    `value_and_divergence`: `Exact()` costs d Hessian-vector products (forward over reverse),
    `Hutchinson(probe)` one.

    **Raises:** ValueError if x is not of floats or the probe is not shaped as x.
    """

    def gradient(t: Any, x: PyTree, args: Any) -> PyTree:
        del t, args
        return jax.grad(f)(x)

    return value_and_divergence(gradient, 0.0, x, how=how)


def laplacian(f: Callable[[Any], Any], x: State, *, how: How = EXACT) -> Scalar:
    """The Laplacian of scalar `f` at x: the second half of `gradient_and_laplacian`."""
    return gradient_and_laplacian(f, x, how=how)[1]
