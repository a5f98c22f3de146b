"""Regularisers of learned dynamics: each is an integrand along the solution."""

import abc
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.base.typing import VectorField
from tenfold.taylor._coefficients import (
    Coefficients,
    mean_square,
    taylor_coefficients,
    total_derivative_norm,
)
from tenfold.taylor._kinks import kinks

Quadrature = Literal["stage", "step", "mc"]
"""How the integral over time is computed. `stage`: by the solver's own stages, to its order, one
evaluation a stage. `step`: by Gauss-Legendre nodes inside each step, on the solver's own dense
output. `mc`: at one uniformly random time, unbiased, one evaluation a solve."""


class AbstractRegulariser(eqx.Module):
    """An integrand(f, t, z, args) >= 0, its weight in the loss, and how it is integrated."""

    if TYPE_CHECKING:  # AbstractVars would come first in the constructors that pyright sees

        @property
        def weight(self) -> Any: ...

        @property
        def quadrature(self) -> Quadrature: ...
    else:
        weight: eqx.AbstractVar[Any]
        quadrature: eqx.AbstractVar[Quadrature]

    @abc.abstractmethod
    def integrand(self, f: VectorField, t: Any, z: PyTree, args: PyTree) -> Array:
        """One value an example, of the batch axes' shape."""


class SpeedReg(AbstractRegulariser):
    r"""R_K: the mean square of the K-th total derivative along the solution.

    $$R_K = \int_{t_0}^{t_1} \frac{1}{D} \left\| \frac{d^K z}{dt^K} \right\|^2 dt$$

    It vanishes on polynomial trajectories of degree < K. A controlled solver of order m takes
    its steps from a derivative of order m, so K near m frees the most of them. R_K scales like
    frequency^(2K): the right weight falls fast with K, search it on a log scale.

    **Arguments:**

    - `order`: K >= 1, static.
    - `weight`: its factor in `penalty`.
    - `quadrature`: see `Quadrature`.
    - `batch_axes`: axes of the state that number examples; `()` for a single state.
    - `coefficients`: the Taylor scheme.

    Warns at trace time for K >= 2 when the field has kinks (relu, max): between them its own
    higher derivatives vanish and the kinks themselves, where solvers stumble, are unseen.

    Source: arXiv 2007.04504, its R_K.
    """

    order: int = eqx.field(static=True)
    weight: Any = 1.0
    quadrature: Quadrature = eqx.field(static=True, default="stage")
    batch_axes: tuple[int, ...] = eqx.field(static=True, default=(0,))
    coefficients: Coefficients = eqx.field(static=True, default=taylor_coefficients)

    def __check_init__(self):
        if self.order < 1:
            raise ValueError(f"SpeedReg: `order` must be at least 1, got {self.order}")
        _check_quadrature("SpeedReg", self.quadrature)

    def integrand(self, f: VectorField, t: Any, z: PyTree, args: PyTree) -> Array:
        if self.order >= 2:
            _warn_of_kinks(f, t, z, args)
        return total_derivative_norm(
            f,
            t,
            z,
            self.order,
            args=args,
            batch_axes=self.batch_axes,
            coefficients=self.coefficients,
        )


class KineticReg(AbstractRegulariser):
    r"""RNODE's kinetic energy, the integral of (1/D) |f|^2, which is R_1.

    Source: arXiv 2002.02798 (RNODE).
    """

    weight: Any = 1.0
    quadrature: Quadrature = eqx.field(static=True, default="stage")
    batch_axes: tuple[int, ...] = eqx.field(static=True, default=(0,))

    def __check_init__(self):
        _check_quadrature("KineticReg", self.quadrature)

    def integrand(self, f: VectorField, t: Any, z: PyTree, args: PyTree) -> Array:
        return mean_square(f(t, z, args), self.batch_axes)


class JacFrobReg(AbstractRegulariser):
    r"""RNODE's Jacobian penalty, the integral of (1/D) |J eps|^2.

    With E[eps eps^T] = I (Rademacher or normal) its mean is |J|_F^2 / D. `eps` is like the state
    and stays fixed within a solve; draw a new one for each. Cost: one JVP.

    Source: arXiv 2002.02798 (RNODE), with eps^T J there; the two have the same mean.
    """

    eps: PyTree
    weight: Any = 1.0
    quadrature: Quadrature = eqx.field(static=True, default="stage")
    batch_axes: tuple[int, ...] = eqx.field(static=True, default=(0,))

    def __check_init__(self):
        _check_quadrature("JacFrobReg", self.quadrature)

    def integrand(self, f: VectorField, t: Any, z: PyTree, args: PyTree) -> Array:
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (self.eps, z)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"JacFrobReg: `eps` must be like the state, {shapes[1]}; got {shapes[0]}"
            )
        _, slope = jax.jvp(lambda state: f(t, state, args), (z,), (self.eps,))
        return mean_square(slope, self.batch_axes)


def penalty(regs: Mapping[str, AbstractRegulariser], integrals: Mapping[str, Array]) -> Array:
    """sum_i weight_i * (mean over the batch of integral_i): what to add to the task loss."""
    total = jnp.zeros(())
    for i, (name, reg) in enumerate(regs.items()):
        term = reg.weight * jnp.mean(integrals[name])
        total = total + term if i else term
    return total


def _check_quadrature(owner: str, quadrature: str):
    if quadrature not in ("stage", "step", "mc"):
        raise ValueError(
            f"{owner}: `quadrature` must be 'stage', 'step' or 'mc', got {quadrature!r}"
        )


def _warn_of_kinks(f: VectorField, t: Any, z: PyTree, args: PyTree):
    found = sorted(kinks(f, t, z, args))
    if found:
        warnings.warn(
            f"the vector field is piecewise smooth (it uses {', '.join(found)}): R_K with K >= 2 "
            "can't see its kinks, where solvers slow down; prefer tanh, softplus or silu",
            stacklevel=2,
        )
