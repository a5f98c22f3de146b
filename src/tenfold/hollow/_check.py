"""The proof that a conditioner is hollow: by what its program can reach, not by sampling it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import source_info_util

from tenfold.base._checks import as_float_tree
from tenfold.hollow._propagation import ELEMENTWISE, ROUTES
from tenfold.hollow._sets import Sets, inputs, known, unknown
from tenfold.hollow._walk import walk

_VALUELESS = (Tracer, jax.ShapeDtypeStruct)


def _is_parameter(leaf: Any) -> bool:
    return eqx.is_inexact_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


@dataclass(frozen=True)
class HollowReport:
    """What `check_hollow` found."""

    name: str
    """Of the conditioner's class or function."""
    proved: bool
    """No h_i can depend on x_i."""
    every_parameter: bool
    """Whether that holds for all values of the parameters, or for the present ones alone."""
    leaks: tuple[int, ...]
    """The i of which it could not be proved."""
    operation: str | None
    """The operation that lets x_i into h_i."""
    where: str | None
    """Its source line."""
    lost: tuple[tuple[int, int], ...]
    """The pairs (i, j), j != i, of which h_i surely does not depend on x_j."""
    measured: float
    """max |dh_i/dx_i| at the point given, by forward mode; exactly 0 for a hollow conditioner.
    nan where there are no values."""

    def __str__(self) -> str:
        if self.proved:
            scope = "for all" if self.every_parameter else "for the present"
            lost = f"; {len(self.lost)} pairs (i, j) are lost" if self.lost else ""
            return f"{self.name} is hollow {scope} values of its parameters{lost}."
        i = self.leaks[0]
        certain = "leaks" if self.measured > 0 else "could not be proved hollow"
        return (
            f"{self.name} {certain}: h_{i} may depend on x_{i} ({len(self.leaks)} such i), which "
            f"enters at `{self.operation}`, {self.where}; max |dh_i/dx_i| = {self.measured:.3g}."
        )

    def require(self) -> None:
        """**Raises:** ValueError with the report, unless proved."""
        if not self.proved:
            raise ValueError(
                f"{self} A conditioner's h_i must not see x_i: mask it, and mind sums, "
                "normalisers and residual connections over all entries."
            )


def check_hollow(conditioner: Callable, x: Any, *, t: Any = 0.0, args: Any = None) -> HollowReport:
    """Proves that no h_i = conditioner(t, x, args)[i] depends on x_i, or says what lets it in.

    *Host.* The conditioner's jaxpr is walked once with, for every entry of every intermediate, the
    set of inputs that it may depend on. Masks count: what is multiplied by a constant 0 or not
    selected by a constant mask does not depend on it (so values have to be finite: 0 nan is nan).
    Calls, scans, loops and branches are entered. The walk errs only on the safe side: a
    difference that cancels, sum_j x_j - x_i, is not recognised.

    **Arguments:**

    - `conditioner`: `(t, x, args) -> (d, d_h)`, a Module or function, with d = x.size; entry i of
      x in row-major order belongs to row i. Its inexact JAX arrays are parameters: of any value,
      or, where that can't be proved, of the present value. They may be `jax.ShapeDtypeStruct`s.
    - `x`: a point, or a `jax.ShapeDtypeStruct`: only shape and dtype matter to the proof.

    **Returns:** a `HollowReport`; `.require()` raises unless proved.

    **Raises:** ValueError unless the output has shape (d, d_h).

    **Cost:** that of the jaxpr on arrays of d booleans an entry; for a `MaskedMLP` of d = 256 a
    second.
    """
    x = x if isinstance(x, jax.ShapeDtypeStruct) else as_float_tree("x", x)
    parameters, static = eqx.partition(conditioner, _is_parameter)
    context, plain = eqx.partition(args, eqx.is_array)

    def call(parameters: Any, context: Any, t: Any, x: Any) -> Any:
        return eqx.combine(parameters, static)(t, x, eqx.combine(context, plain))

    name = getattr(conditioner, "__name__", type(conditioner).__name__)
    t = jnp.asarray(t, x.dtype)
    _check_output(name, jax.eval_shape(call, parameters, context, t, x), x.size)
    closed: Any = jax.make_jaxpr(call)(parameters, context, t, x)
    leaves = jax.tree.leaves(parameters)
    with jax.ensure_compile_time_eval():  # so that a trace around this one sees nothing of it
        out = _walked(closed, [unknown(p.shape) for p in leaves], x)
        constants = any(eqx.is_inexact_array(c) for c in closed.consts)
        every = bool(leaves) or not constants
        if _leaks(out).any() and leaves and not any(isinstance(p, _VALUELESS) for p in leaves):
            out, every = _walked(closed, [known(p) for p in leaves], x), False
    measured = _measured(conditioner, t, x, args)
    return _report(name, out, every, measured)


def check_pointwise(transformer: Callable, x: Any, h: Any) -> None:
    """*Host.* **Raises:** ValueError if output i of tau(t, x, h, args) may depend on x_j, j != i,
    with h held."""
    parameters, static = eqx.partition(transformer, eqx.is_inexact_array)
    like = jax.ShapeDtypeStruct((x.size,), x.dtype)

    def call(parameters: Any, h: Any, t: Any, x: Any) -> Any:
        return eqx.combine(parameters, static)(t, x, h, None)

    closed = jax.make_jaxpr(call)(parameters, h, jnp.asarray(0.0, x.dtype), like)
    leaves = jax.tree.leaves(parameters)
    with jax.ensure_compile_time_eval():
        reached = _walked(closed, [unknown(p.shape) for p in leaves], like).dense(x.size)
    others = np.argwhere(reached & ~np.eye(x.size, dtype=bool))
    if others.size:
        name = getattr(transformer, "__name__", type(transformer).__name__)
        i, j = others[0]
        raise ValueError(
            f"HollowNet: `transformer` must act entry by entry, but output {i} of {name} may "
            f"depend on x_{j}"
        )


def _check_output(name: str, out: Any, d: int) -> None:
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != d:
        raise ValueError(
            f"check_hollow: `conditioner` must return an array of shape ({d}, d_h) for x of "
            f"{d} entries; {name} returned {out}"
        )


def _walked(closed: Any, parameters: list[Sets], x: Any) -> Sets:
    others = [unknown(v.aval.shape) for v in closed.jaxpr.invars[len(parameters) : -1]]
    operands = [*parameters, *others, inputs(x.shape)]
    return walk(closed.jaxpr, closed.consts, operands, x.size)[0]


def _leaks(out: Sets) -> np.ndarray:
    d = out.shape[0]
    reached = np.zeros((d, d), bool) if out.sets is None else out.sets.any(1)
    return np.diagonal(reached)


def _report(name: str, out: Sets, every: bool, measured: float) -> HollowReport:
    leaks = np.flatnonzero(_leaks(out))
    d = out.shape[0]
    reached = out.dense(d).any(1) | np.eye(d, dtype=bool)
    lost = tuple((int(i), int(j)) for i, j in np.argwhere(~reached))
    operation, where = _blamed(out, int(leaks[0])) if leaks.size else (None, None)
    found = tuple(int(i) for i in leaks)
    return HollowReport(name, not found, every, found, operation, where, lost, measured)


def _blamed(out: Sets, i: int) -> tuple[str, str]:
    """The operation at which row i began to depend on what it depends on at the end.

    Backwards from h_i: an operand that has rows 0..d-1 is followed if its row i depends on the
    very same inputs; one that hasn't, if the operation only moves or maps entries.
    """
    place, carrier = None, out
    signature = out.dense(out.shape[0])[i].any(0)
    while carrier is not None and carrier.origin is not None:
        place, operands = carrier.origin
        mixes = place.primitive.name not in (*ELEMENTWISE, *ROUTES)
        carrier = next((o for o in operands if _carries(o, i, signature, mixes)), None)
    if place is None:
        return "identity", "where the conditioner returns its input"
    return place.primitive.name, source_info_util.summarize(place.source_info)


def _carries(operand: Sets, i: int, signature: np.ndarray, mixes: bool) -> bool:
    if operand.sets is None:
        return False
    axes = [axis for axis, size in enumerate(operand.shape) if size == signature.size]
    rows: list[Any] = [
        operand.sets.take(i, axis).reshape(-1, signature.size).any(0) for axis in axes
    ]
    if not axes and not mixes:
        rows = [operand.union()]
    return any(np.array_equal(row, signature) for row in rows)


def _measured(conditioner: Callable, t: Any, x: Any, args: Any) -> float:
    leaves = jax.tree.leaves((conditioner, t, x, args))
    if any(isinstance(leaf, _VALUELESS) for leaf in leaves):
        return float("nan")

    @eqx.filter_jit
    def largest(conditioner: Any, flat: Any, t: Any, args: Any) -> Any:
        slopes = jax.jacfwd(lambda flat: conditioner(t, flat.reshape(x.shape), args))(flat)
        return jnp.max(jnp.abs(jnp.diagonal(slopes, axis1=0, axis2=2)), initial=0.0)

    return float(largest(conditioner, x.reshape(-1), t, args))
