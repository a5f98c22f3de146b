"""How accurate a solve and its gradient are: orders of convergence, and drift on the way back."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, PyTree

from tenfold.base.typing import Key
from tenfold.sde._exact import Anchor, Exact, anchored, anchors_at, before_restart
from tenfold.sde._gradients import AbstractGradient, Checkpoint
from tenfold.sde._march import Problem, Saved, chunk_of, in_chunks, march, over_segments
from tenfold.sde._methods import AbstractMethod, Heun, ReversibleHeun
from tenfold.sde._noise import AbstractNoise, GridNoise, Increment
from tenfold.sde._recorded import RecordedNoise
from tenfold.sde._sde import SDE, brownian_shape
from tenfold.sde._solve import sdesolve

ClosedForm = Callable[[SDE, Array, Any, Array, PyTree], Array]
"""`(sde, z0, t, W(t), args) -> z(t)`, t counted from the start; it reads its parameters from `sde`
and `args`."""


class Order(eqx.Module):
    """Errors of a scheme against its step sizes."""

    steps: Array
    """Step sizes h."""
    errors: Array
    """Root mean square error over the paths at each."""

    @property
    def slope(self) -> Array:
        """Of the line through (log h, log error) by least squares: the order that was seen."""
        x, y = jnp.log(self.steps), jnp.log(self.errors)
        x = x - jnp.mean(x)
        return jnp.sum(x * y) / jnp.sum(x * x)


def strong_order(
    sde: SDE,
    z0: ArrayLike,
    *,
    method: AbstractMethod,
    exact: ClosedForm | None = None,
    ns: Sequence[int] = (16, 32, 64, 128, 256),
    paths: int = 400,
    t0: int | float = 0.0,
    t1: int | float = 1.0,
    finer: int = 16,
    args: PyTree = None,
    key: Key,
) -> Order:
    r"""The strong order of a scheme on this equation, measured.

    $$e(h) = \left(E |z_h(t_1) - z(t_1)|^2\right)^{1/2} \approx C h^{order}$$

    **Arguments:**

    - `sde`; one state `z0` (d,); `method`, the scheme.
    - `exact`: the closed form along a path. Without one the reference is Heun's scheme with
      `finer` times the steps of the finest of `ns`.
    - `ns`: numbers of equal steps from `t0` to `t1`, each a multiple of the one before; all see the
      same Brownian paths. `paths`: how many.

    **Returns:** `Order`. Use float64: in float32 rounding hides small errors.

    **Raises:** `ValueError` if the numbers of steps don't divide each other; as `sdesolve`.

    **Cost:** one compilation; a solve for each of `ns`, all paths at once.
    """
    z0, noise = _start(sde, z0, ns, t0, t1, finer if exact is None else 1, args, key)
    return _value_errors(sde, z0, noise, args, method, exact, tuple(ns), paths)


def gradient_order(
    sde: SDE,
    z0: ArrayLike,
    *,
    method: AbstractMethod,
    gradient: AbstractGradient | None = None,
    exact: ClosedForm | None = None,
    ns: Sequence[int] = (16, 32, 64, 128, 256),
    paths: int = 400,
    t0: int | float = 0.0,
    t1: int | float = 1.0,
    finer: int = 16,
    args: PyTree = None,
    key: Key,
) -> Order:
    r"""The order at which gradients along a path converge to those of the equation, measured.

    The gradient is that of the sum of z(t1)'s entries, in the floating-point arrays of `sde` and
    `args` and in z0, path by path; its error is the Euclidean norm of the difference. The
    reference is the gradient of `exact`, or that of a finer solve. `gradient` is how `sdesolve`
    differentiates; the rest, and the cost times that of a gradient, as in `strong_order`.
    """
    z0, noise = _start(sde, z0, ns, t0, t1, finer if exact is None else 1, args, key)
    return _gradient_errors(sde, z0, noise, args, method, gradient, exact, tuple(ns), paths)


def _start(
    sde: SDE, z0: ArrayLike, ns: Sequence[int], t0: Any, t1: Any, finer: int, args: PyTree, key: Key
) -> tuple[Array, GridNoise]:
    """The state, and the Brownian motion of one path on the finest grid."""
    if any(b % a or b <= a for a, b in pairwise(ns)):
        raise ValueError(f"sde: `ns` must grow, each a multiple of the one before; got {list(ns)}")
    z0 = jnp.asarray(z0)
    shape = brownian_shape(sde, jnp.asarray(t0, z0.dtype), z0, args)
    return z0, GridNoise(key, shape, t0, t1, ns[-1] * finer, dtype=z0.dtype)


def _path(noise: GridNoise, i: Array, area: bool) -> RecordedNoise:
    """Path i: drawn once, and not once for each number of steps."""
    own = eqx.tree_at(lambda n: n.key, noise, jax.random.fold_in(noise.key, i))
    steps = jax.vmap(lambda j: own.increment(j, area=area))(jnp.arange(noise.n, dtype=jnp.int32))
    return RecordedNoise(noise.times, steps.w, area=steps.area)


def _final(sde: SDE, z0: Array, noise: RecordedNoise, n: int, args: PyTree, **options: Any):
    ends = jnp.stack([noise.t0, noise.t1])
    return sdesolve(sde, z0, ends, noise, args=args, substeps=n, **options).zs[-1]


def _reference(
    sde: SDE, z0: Array, noise: RecordedNoise, args: PyTree, exact: ClosedForm | None
) -> Array:
    if exact is None:
        n = noise.w.shape[0]
        return _final(sde, z0, noise, n, args, method=Heun(), gradient=Checkpoint())
    return exact(sde, z0, noise.t1 - noise.t0, jnp.sum(noise.w, axis=0), args)


@eqx.filter_jit
def _value_errors(sde, z0, noise, args, method, exact, ns, paths) -> Order:
    def one(i: Array) -> Array:
        path = _path(noise, i, method.needs_area)
        truth = _reference(sde, z0, path, args, exact)
        solved = [_final(sde, z0, path, n, args, method=method) for n in ns]
        return jnp.stack([jnp.sum((z - truth) ** 2) for z in solved])

    return _order(jax.vmap(one)(jnp.arange(paths)), noise, ns)


@eqx.filter_jit
def _gradient_errors(sde, z0, noise, args, method, gradient, exact, ns, paths) -> Order:
    differentiated, constant = eqx.partition((sde, z0, args), eqx.is_inexact_array)

    def pulled(solve: Callable, path: RecordedNoise) -> PyTree:
        def total(differentiated: PyTree) -> Array:
            sde, z0, args = eqx.combine(differentiated, constant)
            return jnp.sum(solve(sde, z0, path, args))

        return jax.grad(total)(differentiated)

    def one(i: Array) -> Array:
        path = _path(noise, i, method.needs_area)
        truth = pulled(lambda s, z, w, a: _reference(s, z, w, a, exact), path)

        def error(n: int) -> Array:
            options = {"method": method, "gradient": gradient}
            found = pulled(lambda s, z, w, a: _final(s, z, w, n, a, **options), path)
            squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), found, truth)
            return jnp.sum(jnp.stack(jax.tree.leaves(squares)))

        return jnp.stack([error(n) for n in ns])

    return _order(jax.vmap(one)(jnp.arange(paths)), noise, ns)


def _order(squares: Array, noise: GridNoise, ns: tuple[int, ...]) -> Order:
    h = (noise.t1 - noise.t0) / jnp.asarray(np.array(ns), squares.dtype)
    return Order(h, jnp.sqrt(jnp.mean(squares, axis=0)))


@eqx.filter_jit
def reconstruction_error(
    sde: SDE,
    z0: ArrayLike,
    ts: ArrayLike,
    noise: AbstractNoise | Key,
    *,
    args: PyTree = None,
    context: PyTree = None,
    substeps: int = 1,
    anchor_every: int | None = None,
    restart: bool = True,
) -> Array:
    """How far the states that `Exact` rebuilds on its way back are from those of the way forward.

    max |rebuilt - forward| over batch and dimensions, at each of `ts`, shape (T,); where the scheme
    starts anew at each of them, that of one interval. Without rounding it would be 0. It grows
    backwards where the flow forward contracts, and where steps are too long for the drift; when it
    is large, gradients by `Exact` are wrong. Then keep states (`anchor_every`), take smaller steps,
    or use `Checkpoint`.

    **Arguments:** as `sdesolve`, whose scheme is `ReversibleHeun(restart)`; `anchor_every` as
    `Exact`: the error is that before a state is replaced by the kept one.

    **Raises:** as `sdesolve` and `Exact`.

    **Cost:** three solves, forward.
    """
    gap = _Gap(anchor_every)
    solution = sdesolve(
        sde, z0, ts, noise, args=args, context=context, substeps=substeps, gradient=gap,
        method=ReversibleHeun(restart),
    )  # fmt: skip
    return jnp.max(jnp.abs(solution.zs), axis=tuple(range(1, solution.zs.ndim)))


class _Gap(AbstractGradient):
    """Undoes a solve; in place of the states it gives rebuilt less forward ones."""

    anchor_every: int | None = eqx.field(static=True)

    def check(self, problem: Problem) -> None:
        Exact(self.anchor_every).check(problem)

    def __call__(self, problem: Problem) -> Saved:
        every, length = self.anchor_every, problem.segments()[1]
        progress, ys = march(problem, anchor_every=every)

        def segment(state: Any, first: Any, context: PyTree) -> tuple[Any, None]:
            args = problem.args_of(context)
            if problem.method.restarts:
                state = (*before_restart(problem, progress.zs, ys, first), state[2])
            state = in_chunks(
                _undo(problem, args),
                state,
                problem.noise,
                first,
                length,
                chunk_of(problem),
                reverse=True,
                extra=lambda i: anchors_at(i, progress.anchors, every),
            )
            return state, None

        state = (progress.z, ys[-1], progress.zs)
        (_, _, rebuilt), _ = over_segments(problem, segment, state, reverse=True)
        return Saved(rebuilt - progress.zs, progress.cost)


def _undo(problem: Problem, args: PyTree) -> Callable:
    grid, system, method = problem.grid, problem.system, problem.method
    assert isinstance(method, ReversibleHeun)  # `Exact.check` refused any other

    def body(state: Any, x: tuple[Array, Increment, Anchor]) -> Any:
        (z, y, rebuilt), (i, dw, anchor) = state, x
        z, y = anchored(anchor, 0, z), anchored(anchor, 1, y)
        t0, t1 = grid.times[i], grid.times[i + 1]
        z, y = method.undo(system, t0, t1 - t0, dw, z, y, args)
        # Of the writes to one slot, the last on the way back stays: that at the slot's own time.
        return z, y, rebuilt.at[i // grid.substeps].set(z)

    return body
