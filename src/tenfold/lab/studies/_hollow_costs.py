"""What the diagonal costs, and that it is exact: closed forms, dense Jacobians, counts, times."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import hollow
from tenfold.base import Hutchinson, rademacher_like, value_and_divergence
from tenfold.base.typing import Key
from tenfold.lab.run import Run
from tenfold.lab.studies import _hollow_flows as flows
from tenfold.lab.timing import timings

BATCH, D_H, TAU = 64, 8, 32
DENSE = 64
"""Above this size d JVPs take too long to be shown."""


# ---- Right? -----------------------------------------------------------------------------------
def conditioners(key: Key) -> dict[str, tuple[tuple[int, ...], Any]]:
    """One of every kind, with the shape of its state."""
    keys = jax.random.split(key, 5)
    return {
        "masked": ((6,), hollow.MaskedMLP(6, 3, 12, 2, key=keys[0])),
        "leave-one-out": ((6,), hollow.LeaveOneOutMLP(6, 3, 8, 2, key=keys[1])),
        "attention": ((6,), hollow.HollowAttention(6, 2, 4, 2, key=keys[2])),
        "conv": ((1, 4, 5), hollow.HollowConv2d(1, 3, 4, dilations=(1, 2), key=keys[3])),
        "pool": ((6,), hollow.ExclusivePool(3, 8, 2, key=keys[4])),
    }


def exactness(
    config: Any, key: Key, run: Run, *, leaks: bool = False, squared: bool = False
) -> dict[str, Any]:
    """Largest relative errors, in float64: of the trace, of D_2 and D_3, of a gradient; and the
    largest leak, and the residual of Fokker-Planck.

    `leaks` and `squared` are the mistakes to be caught: conditioners that see x_i, and g^2 passed
    for g.
    """
    del config, run
    found = {"leak": 0.0, "unproved": 0.0, "divergence": 0.0}
    with jax.enable_x64(True):
        for i, (name, (shape, inner)) in enumerate(conditioners(key).items()):
            own = jax.random.fold_in(key, i)
            conditioner = flows.Leaking(inner) if leaks else inner
            x = jax.random.normal(own, shape)
            report = hollow.check_hollow(conditioner, x)
            tau = hollow.PointwiseMLP(_width(conditioner, x), 16, key=own)
            net = hollow.HollowNet(conditioner, tau)
            errors = {"leak": report.measured, "unproved": float(not report.proved)}
            errors["divergence"] = float(_trace_error(net, x))
            found |= {each: max(found[each], error) for each, error in errors.items()}
            if name == "masked":
                orders, gradient = _further_errors(net, x)
                found |= {"orders": float(orders), "gradient": float(gradient)}
        found["residual"] = float(_growth_residual(key, squared))
    return found


def _width(conditioner: Callable, x: Array) -> int:
    return eqx.filter_eval_shape(conditioner, 0.0, x, None).shape[1]


def _dense_trace(net: Any, x: Array) -> Array:
    jacobian = jax.jacfwd(lambda x: net(0.3, x).reshape(-1))(x)
    return jnp.trace(jacobian.reshape(x.size, x.size))


@eqx.filter_jit
def _trace_error(net: hollow.HollowNet, x: Array) -> Array:
    return _gap(hollow.divergence(net, 0.3, x), _dense_trace(net, x))


def _gap(a: Any, b: Any) -> Array:
    """Largest difference over largest entry, of pytrees: 0 if equal, of order 1 if unrelated."""
    a, b = (jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return jnp.max(jnp.abs(a - b)) / jnp.max(jnp.maximum(jnp.abs(a), jnp.abs(b)))


@eqx.filter_jit
def _further_errors(net: hollow.HollowNet, x: Array) -> tuple[Array, Array]:
    """Of D_2 and D_3, and of the parameters' gradient of a divergence squared."""

    def along(e: Array) -> tuple[Array, Array]:
        f = lambda s: jnp.vdot(e, net(0.3, x + s * e))  # noqa: E731
        second = jax.jacfwd(jax.jacfwd(f))
        return second(jnp.zeros(())), jax.jacfwd(second)(jnp.zeros(()))

    dense = jax.vmap(along)(jnp.eye(x.size))
    _, derivatives = hollow.dimwise(net, 0.3, x, order=3)
    orders = jnp.maximum(*map(_gap, derivatives[1:], dense))
    ours = eqx.filter_grad(lambda net: hollow.divergence(net, 0.3, x) ** 2)(net)
    theirs = eqx.filter_grad(lambda net: _dense_trace(net, x) ** 2)(net)
    return orders, _gap(ours, theirs)


def _growth_residual(key: Key, squared: bool) -> Array:
    """Of geometric Brownian motion, dX = m X dt + s X dW, whose law is log-normal: 0."""
    m, s = 0.3, 0.5

    def log_p(t: Array, x: Array) -> Array:
        z = (jnp.log(x) - (m - s**2 / 2) * t) / (s * jnp.sqrt(t))
        return jnp.sum(-(z**2) / 2 - jnp.log(x * s * jnp.sqrt(t)))

    drift = lambda t, x, args: m * x  # noqa: E731
    diffusion = lambda t, x, args: (s * x) ** (2 if squared else 1)  # noqa: E731
    x = 0.5 + jax.random.uniform(key, (3,))
    return jnp.abs(hollow.fokker_planck_residual(log_p, drift, diffusion, jnp.asarray(0.7), x))


# ---- Cheap? -----------------------------------------------------------------------------------
def net_of(size: int, key: Key) -> hollow.HollowNet:
    """Masked conditioner, wide enough that no pair is lost."""
    return flows.hollow_mlp(size, D_H, tau_width=TAU, key=key)


def ways(net: Any, x: Array, key: Key) -> dict[str, Callable[[], Any]]:
    """f; f and its divergence, exactly, by one probe, and by d JVPs. Compiled for a batch."""
    probe = rademacher_like(key, x)
    calls = {
        "f": _program(_values, net, x),
        "exact": _program(_divergences, net, x),
        "hutchinson": _program(_probed, net, x, probe),
    }
    known = net.field if isinstance(net, flows.Opaque) else net
    if x.shape[1] <= DENSE:
        calls["dense"] = _program(_divergences, flows.Opaque(known), x)
    return calls


def _program(function: Callable, net: Any, *rest: Array) -> Callable[[], Any]:
    """A call of next to no overhead, which would count at small d."""
    arrays, static = eqx.partition(net, eqx.is_array)
    program = jax.jit(lambda arrays, *rest: function(eqx.combine(arrays, static), *rest))
    return partial(program, arrays, *rest)


def _values(net: Any, x: Array) -> Array:
    return jax.vmap(lambda x: net(0.3, x))(x)


def _divergences(net: Any, x: Array) -> tuple[Array, Array]:
    return jax.vmap(lambda x: value_and_divergence(net, 0.3, x))(x)


def _probed(net: Any, x: Array, probe: Array) -> tuple[Array, Array]:
    each = lambda x, e: value_and_divergence(net, 0.3, x, how=Hutchinson(e))  # noqa: E731
    return jax.vmap(each)(x, probe)


def flops(call: Callable[[], Any]) -> float:
    """Floating point operations of a compiled call, as XLA counts them."""
    program: Any = call
    analysis = program.func.lower(*program.args).compile().cost_analysis()
    return float(analysis["flops"])


@cache
def _counts(size: int, opaque: bool) -> dict[str, float]:
    net = net_of(size, jax.random.key(0))
    x = jnp.zeros((BATCH, size), jnp.float32)
    calls = ways(flows.Opaque(net) if opaque else net, x, jax.random.key(1))
    return {name: flops(call) for name, call in calls.items()}


def costs(config: Any, key: Key, run: Run, *, opaque: bool = False) -> dict[str, Any]:
    """Times and operations at each size; `opaque`: the net does not tell its diagonal."""
    del run
    sizes = config.cost_sizes
    rows: dict[str, list[float]] = {}
    for size in sizes:
        net, x = net_of(size, key), jax.random.normal(key, (BATCH, size), jnp.float32)
        calls = ways(flows.Opaque(net) if opaque else net, x, key)
        _check(calls)
        # d JVPs move so much memory that what runs next is slower: they run alone.
        dense = {name: calls.pop(name) for name in ("dense",) if name in calls}
        taken = timings(calls, spend=0.5) | timings(dense, spend=0.0)
        counted = _counts(size, opaque)
        for name in ("f", "exact", "hutchinson", "dense"):
            rows.setdefault(f"{name}_seconds", []).append(taken.get(name, np.nan))
            rows.setdefault(f"{name}_flops", []).append(counted.get(name, np.nan))
    exact, plain = np.array(rows["exact_flops"]), np.array(rows["f_flops"])
    times = {name: np.array(rows[f"{name}_seconds"]) for name in ("f", "exact", "hutchinson")}
    return rows | {
        "sizes": sizes,
        "exact_over_f": float(np.max(exact / plain)),
        "growth": float((exact / plain)[-1] / (exact / plain)[0]),
        "exact_over_f_time_ratio": float(np.max(times["exact"] / times["f"])),
        "hutchinson_over_exact_time_ratio": float(np.min(times["hutchinson"] / times["exact"])),
    }


def _check(calls: dict[str, Callable[[], Any]]) -> None:
    """All compute one f, and the exact ways one divergence."""
    value, found = calls["f"](), {name: calls[name]() for name in calls if name != "f"}
    for name, (other, _) in found.items():
        np.testing.assert_allclose(other, value, atol=1e-5, err_msg=name)
    if "dense" in found:
        np.testing.assert_allclose(found["dense"][1], found["exact"][1], atol=1e-4, rtol=1e-4)
