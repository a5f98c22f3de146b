"""Root finding with the exact diagonal of the Jacobian: Jacobi-Newton, and Newton-Krylov."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from tenfold.base import value_and_jacobian_diagonal
from tenfold.base._checks import as_float_tree, check_like
from tenfold.hollow._krylov import newton_step, where

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar

_SMALLEST = 2.0**-5
_SLOW = 0.8
_PATIENCE = 3


class Iterate(eqx.Module):
    """The state of the iterations of this module."""

    best: PyTree
    """The last point that was accepted."""
    direction: PyTree
    """The step from there, undamped."""
    weights: PyTree
    """1/diagonal at the start, or 1 where it is none: residuals times these are like errors."""
    merit: Float[Array, ""]
    """max |weights residual| at `best`."""
    damping: Float[Array, ""]
    krylov: Bool[Array, ""]
    """Whether Newton-Krylov has taken over."""
    slow: Int[Array, ""]
    """How many accepted steps in a row hardly lowered the merit."""
    evaluations: Int[Array, ""]
    error: Float[Array, ""]
    """Of the next point, estimated, in units of the tolerance."""
    failed: Bool[Array, ""]


class _Measured(eqx.Module):
    """What a point shows: its residual, and 1/diagonal with 1 where there is no such number."""

    residual: PyTree
    inverse: PyTree
    whole: Bool[Array, ""]
    """Whether there was one wherever the residual is not 0."""
    merit: Float[Array, ""]


class _AbstractDiagonal(optx.AbstractRootFinder):
    _unit: AbstractClassVar[bool]
    _krylov: AbstractClassVar[bool]
    _falls_back: AbstractClassVar[bool]
    _damped: AbstractClassVar[bool]

    rtol: float = 1e-5
    atol: float = 1e-7
    norm: Callable[[PyTree], Any] = optx.max_norm
    linear_solver: lx.AbstractLinearSolver | None = None

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        del fn, args, options, f_struct, aux_struct, tags
        dtype = jnp.result_type(*jax.tree.leaves(y))
        zeros, no = jax.tree.map(jnp.zeros_like, y), jnp.zeros((), bool)
        infinite = jnp.asarray(jnp.inf, dtype)
        none = jnp.zeros((), jnp.int32)
        return Iterate(
            best=y, direction=zeros, weights=zeros, merit=infinite, damping=jnp.ones((), dtype),
            krylov=no | self._krylov, slow=none, evaluations=none, error=infinite, failed=no,
        )  # fmt: skip

    def step(self, fn, y, args, options, state, tags):
        del tags
        residual, diagonal, aux = self._seen(fn, y, args, options)
        inverse, whole = _inverted(diagonal, residual)
        weights = where(state.evaluations == 0, inverse, state.weights)
        merit = optx.max_norm(jax.tree.map(jnp.multiply, weights, residual))
        here = _Measured(residual, inverse, whole, merit)
        accepted = self._accepts(merit, state)
        weighed = eqx.tree_at(lambda s: s.weights, state, weights)
        moved = self._moved(fn, y, args, weighed, here, accepted)
        state = where(accepted, moved, self._held(state))
        state = eqx.tree_at(lambda s: s.evaluations, state, state.evaluations + 1)
        step = jax.tree.map(lambda d: state.damping * d, state.direction)
        return jax.tree.map(jnp.add, state.best, step), state, aux

    def terminate(self, fn, y, args, options, state, tags):
        del fn, y, args, options, tags
        diverged = optx.RESULTS.nonlinear_divergence
        result = optx.RESULTS.where(state.failed, diverged, optx.RESULTS.successful)
        return (state.error < 1) | state.failed, result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        del fn, args, options, tags, result
        return y, aux, {"evaluations": state.evaluations}

    def _seen(self, fn, y, args, options):
        """Residual, diagonal and what else `fn` tells, in one evaluation if that is all."""
        if self._unit:
            residual, aux = fn(y, args)
            return residual, jax.tree.map(jnp.ones_like, residual), aux
        known = options.get("value_and_diagonal")
        if known is None:
            known = _by_base(fn)
        _, aux = eqx.filter_eval_shape(fn, y, args)
        if jax.tree.leaves(aux):
            _, aux = fn(y, args)
        return (*known(y, args), aux)

    def _accepts(self, merit, state):
        finite, first = jnp.isfinite(merit), state.evaluations == 0
        enough = 1 - 1e-4 * state.damping if self._damped else 2.0
        return finite & (first | (merit <= enough * state.merit))

    def _moved(self, fn, y, args, state, here, accepted):
        """From an accepted point: the next direction, and how far from the root it will end."""
        rate = here.merit / state.merit
        unknown = jnp.isinf(state.merit)  # at the first point, and where Newton-Krylov sets out
        hardly = rate > _SLOW
        slow = jnp.where(hardly, state.slow + 1, 0)
        turns = (slow >= _PATIENCE) | ~here.whole
        krylov = state.krylov | (self._falls_back & turns)
        worth = krylov & accepted & (here.merit > 0)
        direction, used, solved = self._direction(fn, y, args, here, worth)
        size = jnp.where(solved, self._size(y, direction), jnp.inf)
        # A linear rate r leaves the fraction r/(1 - r) of a step; of the first step all is assumed.
        rate = jnp.where(unknown, 0.5, jnp.clip(rate, 0.05, 0.99))
        damping = jnp.minimum(1, 2 * state.damping)
        left = jnp.where(damping < 1, 1, rate / (1 - rate))
        return Iterate(
            best=y, direction=direction, weights=state.weights, merit=here.merit, damping=damping,
            krylov=krylov, slow=slow, evaluations=state.evaluations + used, error=size * left,
            failed=state.failed | ~(here.whole | krylov),
        )  # fmt: skip

    def _held(self, state):
        """From a refused point: a shorter step, then Newton-Krylov's, then failure."""
        shorter = state.damping / 2
        spent = (shorter < _SMALLEST) | (not self._damped) | ~jnp.isfinite(state.merit)
        turns = spent & ~state.krylov & self._falls_back & jnp.isfinite(state.merit)
        changes = lambda s: (s.damping, s.krylov, s.failed, s.error, s.direction, s.merit)  # noqa: E731
        still = jax.tree.map(jnp.zeros_like, state.direction)
        return eqx.tree_at(
            changes,
            state,
            (
                jnp.where(turns, 1, shorter),
                state.krylov | turns,
                state.failed | (spent & ~turns),
                jnp.full_like(state.error, jnp.inf),
                # Back at `best` it sets out anew, whatever the merit there.
                where(turns, still, state.direction),
                jnp.where(turns, jnp.inf, state.merit),
            ),
        )

    def _direction(self, fn, y, args, here, krylov):
        """The step, how many evaluations it took, and whether it solves what it should."""
        jacobi = jax.tree.map(lambda f, w: -f * w, here.residual, here.inverse)
        plain = jacobi, jnp.zeros((), jnp.int32), jnp.ones((), bool)
        if not (self._krylov or self._falls_back):
            return plain
        solver = self.linear_solver
        newton = lambda: newton_step(fn, y, args, here.inverse, jacobi, solver)  # noqa: E731
        return jax.lax.cond(krylov, newton, lambda: plain)

    def _size(self, y, direction):
        scaled = jax.tree.map(lambda d, y: d / (self.atol + self.rtol * jnp.abs(y)), direction, y)
        return self.norm(scaled)


def _by_base(fn: Callable) -> Callable:
    return lambda y, args: value_and_jacobian_diagonal(lambda t, y, a: fn(y, a)[0], 0.0, y, args)


def _inverted(diagonal: PyTree, residual: PyTree) -> tuple[PyTree, Any]:
    """1/diagonal or 1 where that is no number, and whether it is one where the residual isn't 0."""
    inverse = jax.tree.map(lambda d: 1 / d, diagonal)
    usable = jax.tree.map(lambda i: jnp.isfinite(i) & (i != 0), inverse)
    settled = jax.tree.map(lambda u, r: jnp.all(u | (r == 0)), usable, residual)
    whole = jnp.all(jnp.stack(jax.tree.leaves(settled)))
    return jax.tree.map(lambda i, u: jnp.where(u, i, 1), inverse, usable), whole


class JacobiNewton(_AbstractDiagonal):
    r"""z <- z - G(z) / diag G'(z), entry by entry; an Optimistix root finder.

    It converges linearly at the rate rho(I - diag(G')^{-1} G'), so it suits Jacobians whose
    diagonal dominates, at one residual-and-diagonal evaluation an iteration. Steps that raise the
    residual are halved. Where that does not help, or the rate is poor, matrix-free Newton-Krylov
    takes over, and at once where an entry of the diagonal is 0 or not finite: GMRES preconditioned
    by the same diagonal (by 1 where there is none). A step of which GMRES could not solve the
    equation may lower the residual but is never taken for the last. If that fails too the result
    is `nonlinear_divergence`.

    **Arguments:** `rtol`, `atol`, `norm`: the estimated error in z is to be below
    atol + rtol |z|. `linear_solver`: for the fall-back, on the preconditioned equation with a right
    side of size 1; by default GMRES to 1e-4, restarted after min(d, 100) products, 8 times at most.

    **Options:** `value_and_diagonal`: `(z, args) -> (G, diagonal)`. Without it the diagonal costs
    d JVPs.

    **Statistics:** `evaluations`, each of G and its diagonal, or a product with the Jacobian. Those
    of GMRES are the most that it can have taken: it doesn't tell when it ended a cycle early.

    Gradients of `optx.root_find` are implicit and do not see the iterations.

    Source: arXiv 1912.03579, section 3.
    """

    _unit, _krylov, _falls_back, _damped = False, False, True, True


class JacobiOnly(_AbstractDiagonal):
    """`JacobiNewton` without damping and fall-back: it converges, or fails at once."""

    _unit, _krylov, _falls_back, _damped = False, False, False, False


class Functional(_AbstractDiagonal):
    """z <- z - G(z): functional iteration, which contracts only if |I - G'| < 1."""

    _unit, _krylov, _falls_back, _damped = True, False, False, False


class NewtonKrylov(_AbstractDiagonal):
    """Damped Newton by GMRES from the first step, preconditioned by the exact diagonal."""

    _unit, _krylov, _falls_back, _damped = False, True, True, True


class _First(eqx.Module):
    both: Callable

    def __call__(self, y, args):
        return self.both(y, args)[0]


def jacobi_newton(
    value_and_diagonal: Callable[[Any, Any], tuple[Any, Any]],
    x0: PyTree,
    args: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    max_steps: int = 50,
    adjoint: optx.AbstractAdjoint | None = None,
) -> optx.Solution:
    """Solves G(x) = 0 from x0 by `JacobiNewton`, given G and its Jacobian's diagonal together.

    **Arguments:**

    - `value_and_diagonal`: `(x, args) -> (G(x), diag dG/dx)`, both shaped as x.
    - `adjoint`: by default Optimistix's implicit one; gradients with respect to `args` (and what
      a Module given as `value_and_diagonal` holds) are right however x was found.

    **Raises:** ValueError if `x0` is not of floats (of 32 bits or more), or what
    `value_and_diagonal` returns is not shaped as it.

    **Returns:** an `optimistix.Solution`: `.value`, `.result`, `.stats["evaluations"]`.
    """
    x0 = as_float_tree("x0", x0)
    for leaf in jax.tree.leaves(x0):
        if jnp.finfo(leaf.dtype).bits < 32:
            raise ValueError(f"`x0` must be of float32 or float64, got {leaf.dtype}.")
    # What it closes over must be seen, or it could not be differentiated.
    value_and_diagonal = eqx.filter_closure_convert(value_and_diagonal, x0, args)
    both: Any = value_and_diagonal.out_struct
    if not (isinstance(both, tuple) and len(both) == 2):
        raise ValueError("jacobi_newton: `value_and_diagonal` must return the pair (G, diagonal).")
    for part, name in zip(both, ("G", "diagonal"), strict=True):
        check_like(f"jacobi_newton: the {name} of `value_and_diagonal`", part, "x0", x0)
    return optx.root_find(
        _First(value_and_diagonal),
        JacobiNewton(rtol, atol),
        x0,
        args,
        options={"value_and_diagonal": value_and_diagonal},
        max_steps=max_steps,
        adjoint=optx.ImplicitAdjoint() if adjoint is None else adjoint,
        throw=False,
    )
