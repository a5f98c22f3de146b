"""Fields made of fields, and how an operator on a field passes through them.

An operator is a Module called as `how(field, t, x, args)` that returns (value, something linear in
the field's Jacobian). `apply` peels the wrappers off one by one, so that the operator meets the
innermost field, which may know its Jacobian's diagonal.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tenfold.base._diagonal import METHOD, Diagonal
from tenfold.base.typing import RealLike, RealScalarLike, VectorField


def apply(how: Callable, field: VectorField, t: RealLike, x: PyTree, args: Any) -> tuple:
    """`how` on the innermost field, its result carried back through the wrappers around it."""
    wrapper = _as_wrapper(field)
    if wrapper is None:
        return how(field, t, x, args)
    return wrapper.lift(how, t, x, args)


def knows_jacobian_diagonal(field: VectorField) -> bool:
    """Whether `field`, or the field inside its wrappers, has `value_and_jacobian_diagonal`.

    If so `value_and_divergence` and `jacobian_diagonal` are exact for one extra pass. Wrappers seen
    through: `vmapped`, `reversed_time`, `eqx.filter_jit`, `eqx.filter_vmap`,
    `eqx.filter_checkpoint`, `jax.jit`.
    """
    wrapper = _as_wrapper(field)
    if wrapper is None:
        return hasattr(field, METHOD)
    return knows_jacobian_diagonal(wrapper.field)


def is_of_batches(field: VectorField) -> bool:
    """Whether `field`, or a field inside its wrappers, is `vmapped`."""
    wrapper = _as_wrapper(field)
    if wrapper is None:
        return False
    return isinstance(wrapper, Vmapped) or is_of_batches(wrapper.field)


def _method_of(wrapper: Any) -> Callable:
    # A property that raises AttributeError: `hasattr` then tells the truth about the inner field.
    if not knows_jacobian_diagonal(wrapper.field):
        raise AttributeError(f"the field inside {type(wrapper).__name__} has no `{METHOD}`")
    return partial(apply, Diagonal(), wrapper)


class Vmapped(eqx.Module):
    """See `vmapped`."""

    field: VectorField
    t_axis: Any = None
    args_axes: Any = None

    def __call__(self, t: RealLike, x: PyTree, args: Any = None) -> PyTree:
        axes = (self.t_axis, eqx.if_array(0), self.args_axes)
        return eqx.filter_vmap(self.field, in_axes=axes)(t, x, args)

    def lift(self, how: Callable, t: RealLike, x: PyTree, args: Any) -> tuple:
        over = eqx.if_array(0)
        axes = (over, None, self.t_axis, over, self.args_axes)
        return eqx.filter_vmap(apply, in_axes=axes)(how, self.field, t, x, args)

    @property
    def value_and_jacobian_diagonal(self) -> Callable:
        return _method_of(self)


def vmapped(field: VectorField, *, t_axis: Any = None, args_axes: Any = None) -> Vmapped:
    """`field` over a batch: `(t, x, args) -> (batch, ...)`, every leaf of x led by the batch axis.

    The examples do not mix, so `value_and_divergence` of it gives one divergence an example, shape
    (batch,), and a field that knows its Jacobian's diagonal still does.

    **Arguments:**

    - `field`: acts on one example.
    - `t_axis`, `args_axes`: as in `eqx.filter_vmap`; by default both are shared by the examples.
      `t_axis=0` takes one time an example, shape (batch,).
    """
    return Vmapped(field, t_axis, args_axes)


class ReversedTime(eqx.Module):
    """See `reversed_time`."""

    field: VectorField
    t0: RealScalarLike
    t1: RealScalarLike

    def _reflect(self, t: RealLike) -> RealLike:
        if isinstance(t, int | float):
            return self.t0 + self.t1 - t
        # The interval's ends may come in another precision than the solver's time.
        t0, t1 = (jnp.asarray(end, t.dtype) for end in (self.t0, self.t1))
        return t0 + t1 - t

    def __call__(self, t: RealLike, x: PyTree, args: Any = None) -> PyTree:
        return jax.tree.map(jnp.negative, self.field(self._reflect(t), x, args))

    def lift(self, how: Callable, t: RealLike, x: PyTree, args: Any) -> tuple:
        out = apply(how, self.field, self._reflect(t), x, args)
        return jax.tree.map(jnp.negative, out)

    @property
    def value_and_jacobian_diagonal(self) -> Callable:
        return _method_of(self)


def reversed_time(field: VectorField, t0: RealScalarLike, t1: RealScalarLike) -> ReversedTime:
    """The field g(t, y) = -f(t0 + t1 - t, y): solving g from t0 to t1 undoes f from t0 to t1.

    If y(t) solves y' = f then y(t0 + t1 - t) solves y' = g. The divergence and the Jacobian's
    diagonal are those of f at the reflected time, negated, at the same cost.
    """
    return ReversedTime(field, t0, t1)


class _Same(eqx.Module):
    # A transform that changes how a field runs, not what it computes.
    field: Callable
    transform: Callable = eqx.field(static=True)

    def lift(self, how: Callable, t: RealLike, x: PyTree, args: Any) -> tuple:
        return self.transform(apply)(how, self.field, t, x, args)


# By type, not by `__wrapped__`: that is set by `functools.wraps` too, on functions which compute
# something else (a negated field, a `jax.vmap`).
_JITS: Any = (type(eqx.filter_jit(abs)), type(jax.jit(abs)))
_CHECKPOINT: Any = type(eqx.filter_checkpoint(abs))
_VMAP: Any = type(eqx.filter_vmap(abs))


def _as_wrapper(field: Any) -> Vmapped | ReversedTime | _Same | None:
    if isinstance(field, Vmapped | ReversedTime):
        return field
    if isinstance(field, _JITS):
        return _Same(field.__wrapped__, eqx.filter_jit)
    if isinstance(field, _CHECKPOINT):
        options = {"prevent_cse": field._prevent_cse, "policy": field._policy}
        return _Same(field.__wrapped__, partial(eqx.filter_checkpoint, **options))
    if isinstance(field, _VMAP):
        return _from_filter_vmap(field)
    return None


def _from_filter_vmap(wrapper: Any) -> Vmapped:
    t_axis, x_axis, args_axes = _axes(wrapper)
    leading = (0, eqx.if_array(0))
    if x_axis not in leading or wrapper._out_axes not in leading or wrapper._axis_name is not None:
        raise ValueError(
            "A field made by `eqx.filter_vmap` must map axis 0 of its state to axis 0 of its "
            f"output, with no axis name; got in_axes={wrapper._in_axes}, "
            f"out_axes={wrapper._out_axes}, axis_name={wrapper._axis_name!r}. Use "
            "`tenfold.base.vmapped(field)`, or vmap the operator instead of the field: "
            "`jax.vmap(lambda x: value_and_divergence(field, t, x))`."
        )
    return Vmapped(wrapper.__wrapped__, t_axis, args_axes)


def _axes(wrapper: Any) -> tuple:
    axes = wrapper._in_axes
    default = eqx.if_array(0)
    if isinstance(axes, dict):
        names = inspect.signature(wrapper.__wrapped__).parameters
        axes = tuple(axes.get(name, default) for name in names)
    elif not isinstance(axes, tuple | list):
        axes = (axes,) * 3
    return (*axes, *[default] * 3)[:3]
