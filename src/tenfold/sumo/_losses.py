"""What to minimise: negative log-likelihood, reverse KL, expected reward; and the encoder's loss.

An encoder's parameters don't move the mean of SUMO, only its variance. So the decoder follows
the gradient of the estimate S, and the encoder that of (S - b)^2, which is 2 (S - b) dS: one
backward pass through the decoder serves both, scaled a datum at the encoder's output.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from tenfold.base.typing import Key, Scalar
from tenfold.sumo._estimate import Kind
from tenfold.sumo._plan import RowPlan
from tenfold.sumo._rows import Encoder, LogJoint, as_batch, batch_size, encode, log_weights
from tenfold.sumo._sumo import Estimate, data_ids, planned, sample_key, sumo
from tenfold.sumo._tails import AbstractTail


class Pulled(eqx.Module):
    """An estimate, with its pullback left open: the weights may depend on its value."""

    estimate: Estimate
    pull: Callable[[Any, Array], tuple[PyTree, PyTree, PyTree]]
    """(c, e) -> gradients: of sum c S in the model and in x, of sum e S in the encoder; c is a
    float, or (batch,) for the price of a second pass."""


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

    return Pulled(Estimate(value, jnp.asarray(plan.count), bound), pull)


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


@jax.custom_vjp
def _with_gradient(value: Array, trained: PyTree, gradient: PyTree) -> Array:
    """`value`, whose gradient in `trained` is `gradient`."""
    del trained, gradient
    return value


def _forward(value: Array, trained: PyTree, gradient: PyTree) -> tuple[Array, PyTree]:
    del trained
    return value, gradient


def _backward(gradient: PyTree, cotangent: Array) -> tuple[Array, PyTree, None]:
    return cotangent, jax.tree.map(lambda g: g * cotangent.astype(g.dtype), gradient), None


_with_gradient.defvjp(_forward, _backward)


def _loss(value: Array, trained: tuple[PyTree, ...], gradients: tuple[PyTree, ...]) -> Array:
    return _with_gradient(value, eqx.filter(trained, eqx.is_inexact_array), gradients)


def others_mean(values: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The mean of the batch's other values: a baseline that is independent of each value."""
    n = values.shape[0]
    if n == 1:
        raise ValueError("sumo: a batch of one has no others to take a baseline from; give one")
    return (jnp.sum(values) - values) / (n - 1)


def _baseline(given: Any, values: Array) -> Array:
    if given is None:
        return others_mean(values)
    given = jnp.asarray(given, values.dtype)
    if given.shape not in ((), values.shape):
        raise ValueError(f"sumo: `baseline` must be () or {values.shape}, got {given.shape}")
    return jax.lax.stop_gradient(jnp.broadcast_to(given, values.shape))


def nll_and_encoder_loss(
    log_joint: LogJoint,
    encoder: Encoder,
    x: PyTree,
    key: Key,
    *,
    tail: AbstractTail | None = None,
    m: int = 1,
    kind: Kind = "loo",
    plan: RowPlan | None = None,
    ids: Any = None,
    baseline: Any = None,
    encoder_weight: float = 1.0,
) -> tuple[Scalar, Estimate]:
    r"""-log p(x), a mean over the batch, for the model; the estimate's variance for the encoder.

    The value is -mean(S). Its gradient in what `log_joint` holds is that of -mean(S): unbiased.
    Its gradient in what `encoder` holds is `encoder_weight` times that of mean((S - b)^2), whose
    mean is the gradient of the variance (arXiv 2004.00353, section 4.2, centred).

    **Arguments:** as of `sumo`; trained arrays are those of the pytrees `log_joint` and `encoder`.
    `baseline`: b, () or (batch,), independent of this call's samples, such as running means;
    by default each datum gets the mean of the others. (The datum's own L_m is independent of
    nothing with kind `loo`.) With a `stratified` plan give one: there data share their luck.

    **Returns:** the loss and the `Estimate`.

    **Cost:** one forward and one backward pass; forward alone where no gradient is taken.
    """
    found = pulled(log_joint, encoder, x, key, tail, m, kind, plan, ids)
    values = found.estimate.value
    spread = values - _baseline(baseline, values)
    of_model, _, of_encoder = found.pull(
        -1.0 / values.shape[0], 2 * encoder_weight * spread / values.shape[0]
    )
    loss = _loss(-jnp.mean(values), (log_joint, encoder), (of_model, of_encoder))
    return loss, found.estimate


def reverse_kl(
    sample: Callable[[Key], Any],
    log_joint: LogJoint,
    encoder: Encoder,
    log_target: Callable[[Any], Any],
    key: Key,
    *,
    batch: int,
    encoder_weight: float = 1.0,
    **options: Any,
) -> tuple[Scalar, Estimate]:
    r"""$E_p[\log p(x) - \log p^*(x)]$ of a latent-variable model p: KL(p || p*) up to log Z.

    With a lower bound in place of log p the minimum lies where the bound is loosest, and training
    finds it; SUMO has no such minimum.

    **Arguments:** `sample(key)` -> x of the model, differentiable in what `sample` holds;
    `log_target(x)` need not be normalised; `batch` draws. `options`: `tail`, `m`, `kind`, `plan`,
    `baseline`, as of `nll_and_encoder_loss`. If `sample` and `log_joint` hold the same parameters,
    gradients add up as they should.

    **Returns:** the loss, whose gradient in `encoder` is that of the variance, and the `Estimate`.
    """
    draws, estimates = jax.random.split(key)
    x = jax.vmap(sample)(jax.random.split(draws, batch))
    found, baseline = _options(log_joint, encoder, x, estimates, options)
    values = found.estimate.value
    spread = values - _baseline(baseline, values)
    gradients = found.pull(1.0 / batch, 2 * encoder_weight * spread / batch)
    of_model, of_x, of_encoder = gradients
    entropy = _loss(jnp.mean(values), (log_joint, encoder, x), (of_model, of_encoder, of_x))
    return entropy - jnp.mean(jax.vmap(log_target)(x)), found.estimate


def score_function(
    sample: Callable[[Key], Any],
    log_joint: LogJoint,
    encoder: Encoder,
    reward: Callable[[Any], Any],
    key: Key,
    *,
    batch: int,
    temperature: Any = 0.0,
    twin_plan: RowPlan | None = None,
    encoder_weight: float = 1.0,
    **options: Any,
) -> tuple[Scalar, dict[str, Array]]:
    r"""-E[R(x)] - temperature H(p) over a latent-variable policy p(x), by score functions.

    $$\nabla = -E[(R(x) - \tau S_1 - b) \nabla S_2]$$

    S_1 and S_2 are independent estimates of log p(x): the product of one with its own gradient
    would be biased, and so would that of two that share their K. (arXiv 2004.00353, section 6.3.)

    **Arguments:** `sample(key)` -> an action x, discrete; no gradient goes through it;
    `reward(x)`. `temperature`: tau, of the entropy; at the number 0, S_1 is not computed.
    `options` as of `reverse_kl`; b is the others' mean. `twin_plan`: the rows of S_1, drawn
    independently of `plan`, and needed beside it.

    **Returns:** the loss, and `reward`, `log_prob`, (batch,).

    **Raises:** `ValueError` for a `plan` without a `twin_plan`, or with itself as one.
    """
    draws, first, second = jax.random.split(key, 3)
    x = jax.lax.stop_gradient(jax.vmap(sample)(jax.random.split(draws, batch)))
    found, baseline = _options(log_joint, encoder, x, second, options)
    values, rewards = found.estimate.value, jax.vmap(reward)(x)
    gain = jax.lax.stop_gradient(rewards)
    if not (isinstance(temperature, int | float) and temperature == 0):
        plan = options.get("plan")
        if plan is not None and (twin_plan is None or twin_plan is plan):
            raise ValueError(
                "score_function: with a temperature S_1 needs a `twin_plan`, drawn independently "
                "of `plan`; estimates that share their K are dependent, and the gradient biased"
            )
        twin = {k: v for k, v in options.items() if k != "baseline"}
        twin["plan"] = twin_plan
        of_twin = sumo(log_joint, encoder, x, first, **twin).value
        gain = gain - temperature * jax.lax.stop_gradient(of_twin)
    advantage = gain - others_mean(gain)
    spread = values - _baseline(baseline, values)
    of_model, _, of_encoder = found.pull(-advantage / batch, 2 * encoder_weight * spread / batch)
    loss = _loss(-jnp.mean(gain), (log_joint, encoder), (of_model, of_encoder))
    return loss, {"reward": rewards, "log_prob": values}


def _options(
    log_joint: LogJoint, encoder: Encoder, x: PyTree, key: Key, options: dict[str, Any]
) -> tuple[Pulled, Any]:
    known = {"tail": None, "m": 1, "kind": "loo", "plan": None, "ids": None, "baseline": None}
    if set(options) - set(known):
        raise TypeError(f"sumo: unknown options {sorted(set(options) - set(known))}")
    given = known | options
    baseline = given.pop("baseline")
    return pulled(log_joint, encoder, x, key, **given), baseline
