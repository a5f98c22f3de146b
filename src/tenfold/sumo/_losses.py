"""What to minimise: negative log-likelihood, reverse KL, expected reward; and the encoder's loss.

An encoder's parameters don't move the mean of SUMO, only its variance. So the decoder follows
the gradient of the estimate S, and the encoder that of something else:

- `variance`: (S - b)^2, which is 2 (S - b) dS, as published. One backward pass through the decoder
  serves both, scaled a datum at the encoder's output. Far from the posterior it is all noise, and
  an encoder that is far narrower than the posterior sees no spread at all.
- `bound`: IWAE of the datum's own rows, which is tight where the variance is least. A second
  backward pass, through the decoder's inputs alone; no baseline.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from tenfold.base.typing import Key, Scalar
from tenfold.sumo._estimate import Kind
from tenfold.sumo._plan import RowPlan
from tenfold.sumo._pulled import Pulled, pulled
from tenfold.sumo._rows import Encoder, LogJoint
from tenfold.sumo._sumo import Estimate, sumo
from tenfold.sumo._tails import AbstractTail

EncoderLoss = Literal["variance", "bound"]
"""What an encoder follows; see above."""


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


def _pull(
    found: Pulled, of_model: Any, kind: str, weight: float, baseline: Any
) -> tuple[PyTree, PyTree, PyTree]:
    """Gradients: in the model and in x of sum `of_model` S, in the encoder of its own loss."""
    values = found.estimate.value
    n = values.shape[0]
    if kind == "bound":
        if baseline is not None:
            raise ValueError("sumo: `baseline` is for the encoder loss 'variance' only")
        return found.pull_bound(of_model, jnp.full(n, -weight / n, values.dtype))
    if kind != "variance":
        raise ValueError(
            f"sumo: `encoder_loss` must be one of {get_args(EncoderLoss)}, got {kind!r}"
        )
    return found.pull(of_model, 2 * weight * (values - _baseline(baseline, values)) / n)


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
    encoder_loss: EncoderLoss = "variance",
    baseline: Any = None,
    encoder_weight: float = 1.0,
) -> tuple[Scalar, Estimate]:
    r"""-log p(x), a mean over the batch, for the model; a loss of its own for the encoder.

    The value is -mean(S). Its gradient in what `log_joint` holds is that of -mean(S): unbiased.
    Its gradient in what `encoder` holds is `encoder_weight` times that of mean((S - b)^2), whose
    mean is the gradient of the variance (arXiv 2004.00353, section 4.2, centred), or, with
    `encoder_loss="bound"`, that of minus IWAE of each datum's rows.

    **Arguments:** as of `sumo`; trained arrays are those of the pytrees `log_joint` and `encoder`.
    `encoder_loss`: `"bound"` for an encoder that starts far from the posterior, such as that of a
    VAE that is trained from scratch; `"variance"` near it. `baseline`, for `"variance"`: b, () or
    (batch,), independent of this call's samples, such as running means; by default each datum gets
    the mean of the others. (The datum's own L_m is independent of nothing with kind `loo`.) With a
    `stratified` plan give one: there data share their luck.

    **Returns:** the loss and the `Estimate`.

    **Cost:** one forward and one backward pass, with `"bound"` a second one to the decoder's
    inputs; forward alone where no gradient is taken.
    """
    found = pulled(log_joint, encoder, x, key, tail, m, kind, plan, ids)
    values = found.estimate.value
    of_model, _, of_encoder = _pull(
        found, -1.0 / values.shape[0], encoder_loss, encoder_weight, baseline
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
    `encoder_loss`, `baseline`, as of `nll_and_encoder_loss`. If `sample` and `log_joint` hold
    the same parameters, gradients add up as they should.

    **Returns:** the loss, whose gradient in `encoder` is that of the encoder's own loss, and the
    `Estimate`.
    """
    draws, estimates = jax.random.split(key)
    x = jax.vmap(sample)(jax.random.split(draws, batch))
    found, kind, baseline = _options(log_joint, encoder, x, estimates, options)
    values = found.estimate.value
    of_model, of_x, of_encoder = _pull(found, 1.0 / batch, kind, encoder_weight, baseline)
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
    found, kind, baseline = _options(log_joint, encoder, x, second, options)
    values, rewards = found.estimate.value, jax.vmap(reward)(x)
    gain = jax.lax.stop_gradient(rewards)
    if not (isinstance(temperature, int | float) and temperature == 0):
        plan = options.get("plan")
        if plan is not None and (twin_plan is None or twin_plan is plan):
            raise ValueError(
                "score_function: with a temperature S_1 needs a `twin_plan`, drawn independently "
                "of `plan`; estimates that share their K are dependent, and the gradient biased"
            )
        twin = {k: v for k, v in options.items() if k not in ("baseline", "encoder_loss")}
        twin["plan"] = twin_plan
        of_twin = sumo(log_joint, encoder, x, first, **twin).value
        gain = gain - temperature * jax.lax.stop_gradient(of_twin)
    advantage = gain - others_mean(gain)
    of_model, _, of_encoder = _pull(found, -advantage / batch, kind, encoder_weight, baseline)
    loss = _loss(-jnp.mean(gain), (log_joint, encoder), (of_model, of_encoder))
    return loss, {"reward": rewards, "log_prob": values}


def _options(
    log_joint: LogJoint, encoder: Encoder, x: PyTree, key: Key, options: dict[str, Any]
) -> tuple[Pulled, Any, Any]:
    known = {"tail": None, "m": 1, "kind": "loo", "plan": None, "ids": None}
    known |= {"encoder_loss": "variance", "baseline": None}
    if set(options) - set(known):
        raise TypeError(f"sumo: unknown options {sorted(set(options) - set(known))}")
    given = known | options
    loss, baseline = given.pop("encoder_loss"), given.pop("baseline")
    return pulled(log_joint, encoder, x, key, **given), loss, baseline
