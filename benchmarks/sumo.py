"""One gradient of SUMO on packed rows, beside what one would do instead.

A VAE 784-200-200-50 (tanh) and a batch of 100, the paper's tail, m = 1: 6.08 rows a datum.

1. Gradients: packed (kinds `paper` and `loo`), padded to the batch's largest K, IWAE_6 of nearly
   the same mean cost, and the paper's estimator in plain PyTorch where TENFOLD_TORCH_PYTHON names
   a Python that has torch. The packed, the padded and torch's are first checked to agree.
2. Scalars alone: the leave-one-out differences of n weights, beside the sum over all i and n.
3. Sizes compiled and rows wasted in 500 steps.

Run as `make bench`, or `python benchmarks/sumo.py`. One thread, float32, medians of process time.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

os.environ.setdefault("NPROC", "1")  # one thread: timings repeat; XLA reads it when it starts

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold import sumo
from tenfold.base import bernoulli_log_prob
from tenfold.lab.environment import environment
from tenfold.lab.timing import timings
from tenfold.sumo._rows import row_keys
from tenfold.sumo._sumo import sample_key

KEY, BATCH, LATENT, WIDTH, PIXELS = jax.random.key(0), 100, 50, 200, 784
TAIL = sumo.PaperTail()
TORCH = os.environ.get("TENFOLD_TORCH_PYTHON")


class Net(eqx.Module):
    layers: list[jax.Array]

    def __init__(self, sizes, key):
        keys = jax.random.split(key, len(sizes))
        shapes = zip(keys, sizes, sizes[1:])
        self.layers = [jax.random.normal(k, (a, b)) / a**0.5 for k, a, b in shapes]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jnp.tanh(x @ layer)
        return x @ self.layers[-1]


class Joint(eqx.Module):
    net: Net

    def __call__(self, x, z):
        return bernoulli_log_prob(x, self.net(z)) - 0.5 * jnp.sum(z**2 + jnp.log(2 * jnp.pi))


class Encoder(eqx.Module):
    net: Net

    def __call__(self, x):
        mean, log_scale = jnp.split(self.net(x), 2)
        return sumo.DiagonalNormal(mean, jnp.exp(log_scale))


def build():
    a, b = jax.random.split(KEY)
    decoder = Joint(Net([LATENT, WIDTH, WIDTH, PIXELS], a))
    return decoder, Encoder(Net([PIXELS, WIDTH, WIDTH, 2 * LATENT], b))


def noise(n):
    """What the packed rows draw: (batch, n, latent)."""
    ids = jnp.repeat(jnp.arange(BATCH, dtype=jnp.int32), n)
    pos = jnp.tile(jnp.arange(n, dtype=jnp.int32), BATCH)
    keys = row_keys(sample_key(KEY), ids, pos)
    keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(keys)
    return jax.vmap(lambda k: jax.random.normal(k, (LATENT,)))(keys).reshape((BATCH, n, LATENT))


def packed(model, x, plan):
    return -jnp.mean(sumo.sumo(*model, x, KEY, plan=plan).value)


def padded(model, x, eps, k):
    """Every datum with as many samples as the greediest."""
    joint, encoder = model

    def one(x, eps, k):
        q = encoder(x)
        z = q.mean + q.scale * eps
        log_q = -0.5 * jnp.sum(eps**2 + jnp.log(2 * jnp.pi), axis=-1) - jnp.sum(jnp.log(q.scale))
        return sumo.estimate(jax.vmap(partial(joint, x))(z) - log_q, k, TAIL, 1, "paper")

    return -jnp.mean(jax.vmap(one)(x, eps, k))


def iwae(model, x):
    return -jnp.mean(sumo.baselines.iwae(*model, x, KEY, k=6).value)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def torch_seconds(model, x, eps, k, gradient):
    """{} where there is no torch."""
    if not TORCH:
        return {}
    nets = {"d": model[0].net, "e": model[1].net}
    arrays = {f"{n}{i}": w for n, net in nets.items() for i, w in enumerate(net.layers)}
    order = np.concatenate([flat(gradient[1]), flat(gradient[0])])  # e0, e1, e2, d0, d1, d2
    arrays |= {"x": x, "eps": eps, "k": k, "gradient": order}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.npz"
        np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})
        script = Path(__file__).with_name("_sumo_torch.py")
        said = subprocess.run([TORCH, script, file], capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stderr)
    return {"the paper's, padded, in PyTorch": json.loads(said.stdout)["seconds"]}


def gradients():
    model = build()
    x = (jax.random.uniform(jax.random.fold_in(KEY, 3), (BATCH, PIXELS)) < 0.3).astype(jnp.float32)
    plans = [sumo.RowPlan.draw(i, BATCH, TAIL, 1, "paper") for i in range(200)]
    plan = sorted(plans, key=lambda plan: plan.count.sum())[100]  # the median step
    k = plan.count - 1
    eps = noise(int(plan.count.max()))
    loo = eqx.tree_at(lambda p: p.weight, sumo.RowPlan.of(k, TAIL, 1, "loo"), plan.weight)
    grad = lambda f: eqx.filter_jit(eqx.filter_grad(f))  # noqa: E731
    calls = {
        "packed, `paper`": partial(grad(packed), model, x, plan),
        "packed, `loo`": partial(grad(packed), model, x, loo),
        "IWAE_6": partial(grad(iwae), model, x),
        "padded to the largest K": partial(grad(padded), model, x, eps, jnp.asarray(k, jnp.int32)),
    }
    found = {name: calls[name]() for name in ("packed, `paper`", "padded to the largest K")}
    ours, theirs = (flat(gradient) for gradient in found.values())
    off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert off < 1e-3, f"packed and padded gradients differ by {off:.1g}"
    # The padded program moves so much memory that whatever runs next is slower: it runs alone.
    alone = {"padded to the largest K": calls.pop("padded to the largest K")}
    seconds = timings(calls, spend=5.0, statistic=median) | timings(alone, statistic=median)
    seconds |= torch_seconds(model, x, eps, k, found["packed, `paper`"])
    print(f"{plan.count.sum()} samples in {plan.rows} rows, the largest K {k.max()}\n")
    print("| gradient | ms | relative to IWAE_6 |\n|---|---|---|")
    for name, taken in sorted(seconds.items(), key=lambda pair: pair[1]):
        print(f"| {name} | {1e3 * taken:.1f} | {taken / seconds['IWAE_6']:.2f} |", flush=True)


def scalars():
    def quadratic(logw):
        n = logw.shape[0]
        below = jnp.tril(jnp.ones((n, n), bool))
        sums = jax.nn.logsumexp(jnp.where(below, logw[None, :], -jnp.inf), axis=1)
        share = jnp.where(below, logw[None, :] - sums[:, None], -jnp.inf)
        rest = jnp.where(below, jnp.log1p(-jnp.exp(share)), 0)
        size = jnp.arange(1, n + 1, dtype=logw.dtype)
        return (-jnp.log(size) - jnp.sum(rest, axis=1) / size + jnp.log(size - 1))[1:]

    print("\n| n | O(n) scheme, ms | O(n^2) sums, ms |\n|---|---|---|")
    for n in (100, 1000, 4000):
        logw = jax.random.normal(KEY, (n,))
        calls = {"ours": jax.jit(sumo.differences), "sums": jax.jit(quadratic)}
        np.testing.assert_allclose(calls["ours"](logw), calls["sums"](logw), atol=2e-6)
        seconds = timings({name: partial(call, logw) for name, call in calls.items()})
        print(f"| {n} | {1e3 * seconds['ours']:.2f} | {1e3 * seconds['sums']:.2f} |", flush=True)


def packing():
    print("\n| draws | sizes compiled in 500 steps | rows wasted |\n|---|---|---|")
    for stratified in (False, True):
        count = sumo.Packing()
        for step in range(500):
            count.add(sumo.RowPlan.draw(step, BATCH, TAIL, 1, "paper", stratified=stratified))
        name = "stratified" if stratified else "independent"
        print(f"| {name} | {count.compiled_sizes} | {100 * count.waste:.1f} % |")


def main() -> None:
    here = environment(int(os.environ["NPROC"]))
    print(f"{here['machine']}, {here['cores']} cores, {here['threads']} thread; "
          f"jax {here['versions']['jax']}\n")  # fmt: skip
    gradients()
    scalars()
    packing()


if __name__ == "__main__":
    main()
