"""A VAE of small digits whose posterior is moved by a flow: by none, discrete ones, or an ODE."""

from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import hollow
from tenfold.base.typing import Key
from tenfold.hollow import baselines
from tenfold.lab.data import digits, mnist
from tenfold.lab.run import Run
from tenfold.lab.selecting import Selected, SelectingStep, adam
from tenfold.lab.studies import _hollow_flows as flows
from tenfold.lab.train import Minibatches, fit

CONTEXT = 16
BOUND_SAMPLES, MARGINAL_SAMPLES = 16, 64


@cache
def data(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Binary images (n, D): to train on, to select by, to test on; ink above one half."""
    if name == "digits":
        train, test = (digits.load(s).images > 0.5 for s in ("train", "test"))
        held = 200
    else:
        loaded = {s: mnist.load(s).images.reshape(-1, 784) > 127 for s in ("train", "test")}
        train, test, held = loaded["train"], loaded["test"], 10_000
    return tuple(x.astype(np.float32) for x in (train[held:], train[:held], test))  # pyright: ignore


# ---- Model ------------------------------------------------------------------------------------
def flow_of(name: str, config: Any, key: Key, leaks: bool = False) -> Any:
    """`none`, `planar`, `iaf`, `sylvester`, `ffjord` (plain field, Hutchinson) or `hollow`."""
    size, solve = config.latent, flows.fixed(config.vae_solver_steps)
    discrete = {
        "planar": baselines.planar, "iaf": baselines.iaf, "sylvester": baselines.sylvester
    }  # fmt: skip
    if name in discrete:
        return discrete[name](size, CONTEXT, key=key)
    if name == "none":
        return baselines.Identity()
    net = flows.hollow_mlp(size, 8, 64, tau_width=32, context=CONTEXT, last_scale=0.1, key=key)
    if name == "hollow":
        return baselines.Continuous(flows.leaking(net) if leaks else net, solve=solve)
    width = flows.parameters(net) // (2 * size + CONTEXT + 2)
    field = baselines.ContextMLP(size, CONTEXT, width, dtype=jnp.float32, key=key)
    return baselines.Continuous(field, hutchinson=True, solve=solve)


def model(config: Any, key: Key, *, flow: str, leaks: bool = False) -> hollow.FlowVAE:
    inner, outer = jax.random.split(key)
    pixels = {"digits": 64, "mnist": 784}[config.images]
    moved = flow_of(flow, config, inner, leaks)
    build = eqx.filter_jit(partial(hollow.flow_vae, dtype=jnp.float32))
    return build(pixels, config.latent, moved, context=CONTEXT, width=config.vae_width, key=outer)


class Bound(eqx.Module):
    """-ELBO of a batch, by one sample of each image."""

    def __call__(self, vae: Any, x: Array, key: Key) -> tuple[Array, dict[str, Array]]:
        vae = hollow.fold_masks(vae)
        bounds = jax.vmap(vae.elbo)(x, jax.random.split(key, len(x)))
        return -jnp.mean(bounds), {}


class Validation(eqx.Module):
    """-ELBO of the validation images, with the same noise at each look."""

    x: Array

    def __call__(self, vae: Any) -> Array:
        return Bound()(vae, self.x, jax.random.key(0))[0]


def exactly(vae: hollow.FlowVAE, size: int) -> hollow.FlowVAE:
    """For the test: exact traces whatever trained, adaptive steps, and no unproved diagonal."""
    if not isinstance(vae.flow, baselines.Continuous):
        return vae
    field = vae.flow.field
    if isinstance(field, hollow.HollowNet):
        field = flows.honest(field, size, args=jnp.zeros(CONTEXT, jnp.float32))
    return eqx.tree_at(lambda v: v.flow, vae, baselines.Continuous(field, solve=flows.fixed(8)))


@eqx.filter_jit
def tested(vae: Any, x: Array, key: Key) -> tuple[Array, Array]:
    """ELBO and log p(x), means over images taken a few at a time."""
    vae = hollow.fold_masks(vae)

    def one(given: tuple[Array, Key]) -> tuple[Array, Array]:
        x, key = given
        weights = vae.elbo(x, key, BOUND_SAMPLES)
        return weights, vae.log_marginal(x, key, MARGINAL_SAMPLES)

    found = jax.lax.map(one, (x, jax.random.split(key, len(x))), batch_size=8)
    return jnp.mean(found[0]), jnp.mean(found[1])


# ---- Arms -------------------------------------------------------------------------------------
def train(config: Any, key: Key, run: Run, *, flow: str, leaks: bool = False) -> dict[str, Any]:
    init, noise, drawn = jax.random.split(key, 3)
    seen, held, test = data(config.images)
    step = SelectingStep(
        Bound(), adam(config.vae_rate, config.vae_decay), Validation(jnp.asarray(held)), 50
    )
    start = model(config, init, flow=flow, leaks=leaks)
    batches = Minibatches(seen, config.batch, run.seed)
    state: Selected = fit(run, step, step.init(start), batches, config.vae_steps, key=noise)
    vae = exactly(state.model, config.latent)
    elbo, marginal = tested(vae, jnp.asarray(test[: config.vae_tested]), drawn)
    return {
        "test_elbo": float(elbo),
        "test_log_p": float(marginal),
        "flow_parameters": flows.parameters(start.flow),
        "chosen_step": int(state.chosen),
    }


FLOWS = ("none", "planar", "iaf", "sylvester", "ffjord", "hollow")
SAYS = {
    "none": "VAE with a Gaussian posterior",
    "planar": "... moved by 4 planar flows",
    "iaf": "... by 4 inverse autoregressive flows",
    "sylvester": "... by 4 Householder Sylvester flows",
    "ffjord": "... by an ODE, plain field, Hutchinson's trace (FFJORD)",
    "hollow": "... by an ODE, hollow field, exact trace",
}
ways = {name: partial(train, flow=name) for name in FLOWS}
