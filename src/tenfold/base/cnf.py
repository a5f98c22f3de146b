"""Continuous flows: log-densities and samples of any field with any divergence.

z(t0) ~ base, dz/dt = field(t, z, args), x = z(t1). Along the way

    d/dt log p(t, z(t)) = -div field(t, z(t)),

so log p(x) = log base(z(t0)) - integral of the divergence (Chen et al. 2018, arXiv 1806.07366).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from tenfold.base._checks import as_float_tree, check_like
from tenfold.base._wrappers import is_of_batches
from tenfold.base.diffops import EXACT, How, value_and_divergence
from tenfold.base.dists import normal_log_prob
from tenfold.base.nfe import count_nfe, counted
from tenfold.base.results import RESULTS, from_diffrax
from tenfold.base.typing import Key, RealScalarLike, Scalar, State, VectorField

Penalty = Callable[[VectorField, Any, PyTree, Any], Any]
"""`(field, t, x, args) -> integrand`, such as `taylor.KineticReg(batch_axes=()).integrand`."""


class Moved(eqx.Module):
    """What a flow did to a state."""

    x: PyTree
    """The state at the end."""
    log_det: Float[Array, "..."]
    """The integral of the divergence, log |det dx1/dx0|; one a state."""
    penalties: dict[str, Array]
    """The integrals of the penalties along the way, over |dt|."""
    nfe: Int[Array, "..."] | int
    """Evaluations of the field by the solver, see `count_nfe`; -1 if it doesn't tell."""
    result: RESULTS
    """What became of the solve: `raise_if_bad(result)` on the host."""


class Solve(eqx.Module):
    """How to solve a flow: what `diffrax.diffeqsolve` takes.

    The step-size control sees state and log-determinant, and no penalty.
    """

    solver: dfx.AbstractSolver = dfx.Dopri5()
    controller: dfx.AbstractStepSizeController = dfx.PIDController(rtol=1e-5, atol=1e-5)
    dt0: Any = None
    """The first step, > 0 in either direction of time; `None` lets the controller choose."""
    adjoint: dfx.AbstractAdjoint = dfx.RecursiveCheckpointAdjoint()
    max_steps: int = eqx.field(static=True, default=4096)


SOLVE = Solve()


def move(
    field: VectorField,
    x: State,
    t0: RealScalarLike,
    t1: RealScalarLike,
    args: Any = None,
    *,
    how: How = EXACT,
    penalties: Mapping[str, Penalty] | None = None,
    solve: Solve = SOLVE,
) -> Moved:
    """Carries x from t0 to t1 (later or earlier) and tells how it changed the density.

    log p(t1, moved.x) = log p(t0, x) - moved.log_det.

    **Arguments:**

    - `field`: `(t, x, args)`, of one example; or `vmapped(field)` with x led by a batch axis: one
      solve with shared steps, and one log-determinant an example.
    - `x`: a float array, or a pytree of them.
    - `how`: the divergence, see `value_and_divergence`. `Exact()` by default, for which a hollow
      net is cheap. `Hutchinson(probe)`: the one probe serves the whole solve.
    - `penalties`: name -> integrand along the solution.
    - `solve`: solver, tolerances, adjoint.

    **Raises:** ValueError as `value_and_divergence`, and if the field returns another dtype than
    x's: cast x, or the field's parameters.
    """
    x, penalties = as_float_tree("x", x), dict(penalties or {})
    time = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(x)))
    t0, t1 = jnp.asarray(t0, time), jnp.asarray(t1, time)
    sign = jnp.where(t1 < t0, -1, 1).astype(time)
    slopes = _Augmented(field, how, penalties, sign)
    like = eqx.filter_eval_shape(slopes, t0, ((x, 0.0), None), args)
    check_like("The output of `field(t, x, args)`", like[0][0], "x", x, dtype=True)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (like[0][1], like[1]))
    solver, controller = solve.solver, _without_penalties(solve.controller)
    counts = getattr(solver, "counts_evaluations", False)
    if counts:
        solver, controller = counted(solver, controller)
    solution = dfx.diffeqsolve(
        dfx.ODETerm(slopes),
        solver,
        t0,
        t1,
        None if solve.dt0 is None else sign * jnp.asarray(solve.dt0, time),
        ((x, zeros[0]), zeros[1]),
        args,
        saveat=dfx.SaveAt(t1=True, solver_state=counts, controller_state=counts),
        stepsize_controller=controller,
        adjoint=solve.adjoint,
        max_steps=solve.max_steps,
        throw=False,
    )
    (x, log_det), extra = jax.tree.map(lambda leaf: leaf[-1], cast(Any, solution.ys))
    return Moved(x, log_det, extra, _nfe(solution, solver), from_diffrax(solution.result))


class _Augmented(eqx.Module):
    """The slopes of ((x, log_det), penalties); a Module, so that solvers see what it holds."""

    field: VectorField
    how: How
    penalties: dict[str, Penalty]
    sign: Array

    def __call__(self, t: Any, state: PyTree, args: Any) -> PyTree:
        x = state[0][0]
        value, divergence = value_and_divergence(self.field, t, x, args, how=self.how)
        extra = {k: self.sign * p(self.field, t, x, args) for k, p in self.penalties.items()}
        return (value, divergence), extra


def _without_penalties(controller: Any) -> Any:
    if not hasattr(controller, "norm"):
        return controller
    norm = controller.norm
    return eqx.tree_at(lambda c: c.norm, controller, lambda state: norm(state[0]))


def _nfe(solution: dfx.Solution, solver: dfx.AbstractSolver) -> Any:
    try:
        return count_nfe(solution, solver)
    except ValueError:
        return -1


class Normal(eqx.Module):
    """N(mean, diag(scale^2)) of mean's shape; `Normal(jnp.zeros(d), jnp.ones(d))` as a base."""

    mean: Float[Array, "..."]
    scale: Float[Array, "..."]

    def log_prob(self, x: Float[Array, "..."]) -> Scalar:
        return normal_log_prob(x, self.mean, self.scale)

    def sample(self, key: Key) -> Float[Array, "..."]:
        return self.mean + self.scale * jax.random.normal(key, self.mean.shape, self.mean.dtype)


class CNF(eqx.Module):
    """A density by a flow: x = z(t1) with z(t0) ~ base.

    **Arguments:**

    - `field`: `(t, x, args)`; one that knows its Jacobian's diagonal (`hollow.HollowNet`) has an
      exact density for one extra pass, unasked. `vmapped(field)`: states are batches.
    - `base`: `log_prob(x)` and `sample(key)` of one example, such as `Normal`.
    - `t0`, `t1`: the time of the base, and of x.
    - `solve`: see `Solve`.

    Every method also returns `Moved`, last: NFE, penalties, and the result to check on the host.
    So `log_prob` and `sample` return two values, and `sample_and_log_prob` three.
    """

    field: VectorField
    base: Any
    t0: Any = 0.0
    t1: Any = 1.0
    solve: Solve = SOLVE

    def log_prob(
        self,
        x: State,
        args: Any = None,
        *,
        how: How = EXACT,
        penalties: Mapping[str, Penalty] | None = None,
    ) -> tuple[Float[Array, "..."], Moved]:
        """log p(x), and what was done: x moved back to t0. Options as `move`'s."""
        moved = move(
            self.field, x, self.t1, self.t0, args, how=how, penalties=penalties, solve=self.solve
        )
        # Going back, log_det is that of the inverse: minus the integral of the divergence.
        return self._base_log_prob(moved) + moved.log_det, moved

    def sample(self, key: Key, args: Any = None) -> tuple[PyTree, Moved]:
        """x ~ p, one example, and what was done; batches by `vmap` over keys.

        **Raises:** ValueError if the field is `vmapped`: its solve is of a batch.
        """
        x, _, moved = self.sample_and_log_prob(key, args)
        return x, moved

    def sample_and_log_prob(
        self,
        key: Key,
        args: Any = None,
        *,
        how: How = EXACT,
        penalties: Mapping[str, Penalty] | None = None,
    ) -> tuple[PyTree, Float[Array, "..."], Moved]:
        """x ~ p, log p(x), and what was done; in one solve, differentiable in both x and log p(x):
        a variational posterior. **Raises:** as `sample`.
        """
        if is_of_batches(self.field):
            raise ValueError(
                "CNF.sample: `field` is vmapped, but one example is drawn; sample from a CNF of "
                "the field itself, `jax.vmap(CNF(field, base).sample)(keys)`"
            )
        z = self.base.sample(key)
        moved = move(
            self.field, z, self.t0, self.t1, args, how=how, penalties=penalties, solve=self.solve
        )
        return moved.x, self.base.log_prob(z) - moved.log_det, moved

    def _base_log_prob(self, moved: Moved) -> Float[Array, "..."]:
        log_prob = self.base.log_prob
        for _ in range(moved.log_det.ndim):  # one log-determinant an example of a batch
            log_prob = jax.vmap(log_prob)
        return log_prob(moved.x)
