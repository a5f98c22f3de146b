"""An estimate whose pullback is left open: what is done with it may depend on its value."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.base.typing import Key
from tenfold.sumo._estimate import Kind
from tenfold.sumo._plan import RowPlan
from tenfold.sumo._rows import Encoder, LogJoint, as_batch, batch_size, encode, log_weights
from tenfold.sumo._sumo import Estimate, data_ids, planned, sample_key
from tenfold.sumo._tails import AbstractTail


class Pulled(eqx.Module):
    """An estimate, with its pullback left open: the weights may depend on its value."""

    estimate: Estimate
    pull: Callable[[Any, Array], tuple[PyTree, PyTree, PyTree]]
    """(c, e) -> gradients: of sum c S in the model and in x, of sum e S in the encoder; c is a
    float, or (batch,) for the price of a second pass."""
    pull_bound: Callable[[Any, Array], tuple[PyTree, PyTree, PyTree]]
    """The same, with IWAE of all rows of a datum in place of S for the encoder: two passes."""


def pulled(
    log_joint: LogJoint,
    encoder: Encoder,
    x: PyTree,
    key: Key,
    tail: AbstractTail | None,
    m: int,
    kind: Kind,
    plan: RowPlan | None,
    ids: Any,
) -> Pulled:
    """SUMO of a batch. What `x` adds through the encoder is left out: its mean is 0."""
    x = as_batch(x)
    plan = planned(plan, key, batch_size(x), tail, m, kind)
    ids, key = data_ids(x, ids), sample_key(key)
    joint, joint_static = _still(log_joint)
    nets, nets_static = _still(encoder)
    data, data_static = _still(x)
    whole = eqx.combine(data, data_static)
    q, pull_q = _vjp(lambda nets: encode(eqx.combine(nets, nets_static), whole), nets)
    floats, q_static = eqx.partition(q, eqx.is_inexact_array)

    def weigh(joint: Any, data: Any, floats: Any) -> Array:
        model, seen = eqx.combine(joint, joint_static), eqx.combine(data, data_static)
        return log_weights(model, eqx.combine(floats, q_static), seen, key, plan, ids)

    logw, pull_rows = jax.vjp(weigh, joint, data, floats)
    (value, bound), pull_value = jax.vjp(plan.reduce, logw)
    (unit,) = pull_value((jnp.ones_like(value), jnp.zeros_like(bound)))
    seg = jnp.asarray(plan.seg)

    def pull(of_model: Any, of_encoder: Array) -> tuple[PyTree, PyTree, PyTree]:
        if isinstance(of_model, float):
            # A datum's rows touch no other datum's posterior, so of its cotangent at one weight
            # any multiple is a product there: one pass serves both.
            joint, data, floats = pull_rows(of_model * unit)
            factor = of_encoder / of_model
        else:
            joint, data, _ = pull_rows(of_model[seg] * unit)
            (_, _, floats), factor = pull_rows(unit), of_encoder
        return joint, data, pull_q(jax.tree.map(lambda g: _each(factor, g), floats))

    def pull_bound(of_model: Any, of_encoder: Array) -> tuple[PyTree, PyTree, PyTree]:
        joint, data, _ = pull_rows(jnp.broadcast_to(of_model, value.shape)[seg] * unit)
        _, _, floats = pull_rows(of_encoder[seg].astype(unit.dtype) * plan.shares(logw))
        return joint, data, pull_q(floats)

    return Pulled(Estimate(value, jnp.asarray(plan.count), bound), pull, pull_bound)


def _each(factor: Array, g: Array) -> Array:
    return g * factor.astype(g.dtype).reshape((-1,) + (1,) * (g.ndim - 1))


def _vjp(nets_to_q: Callable, nets: PyTree) -> tuple[Any, Callable]:
    """The posteriors, and the pullback of cotangents of their floating-point arrays."""
    static = None

    def floats_of(nets: Any) -> Any:
        nonlocal static
        floats, static = eqx.partition(nets_to_q(nets), eqx.is_inexact_array)
        return floats

    floats, pull = jax.vjp(floats_of, nets)
    return eqx.combine(floats, static), lambda cotangent: pull(cotangent)[0]


def _still(tree: PyTree) -> tuple[PyTree, PyTree]:
    """The arrays that are trained, with their gradient stopped, and the rest."""
    floats, rest = eqx.partition(tree, eqx.is_inexact_array)
    return jax.lax.stop_gradient(floats), rest
