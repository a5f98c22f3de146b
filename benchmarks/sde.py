"""The gradient of a latent SDE's bound beside what one would use instead.

dz = f dt + g o dW from 0 to 1 with the divergence int |(f - h) / g|^2 / 2 dt of a prior with drift
h; f, h and g are nets of one hidden layer. The loss is the mean of |z(1)|^2 + divergence.

1. Its gradient by every route of ours, by Diffrax (each of its adjoints that applies, on its tree
   and on our `GridNoise`), and by torchsde where TENFOLD_TORCH_PYTHON names a Python that has it.
   Routes that differentiate reversible Heun's steps on one noise are first checked to agree. The
   floor is N (F + one vjp with its primal): all fields once forward, once more to differentiate.
2. 1000 Brownian increments of shape (64, 6), beside Diffrax's tree.

Run as `make bench`, or `python benchmarks/sde.py`. One thread, float32, medians of process time.
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

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold import sde
from tenfold.lab.environment import environment
from tenfold.lab.timing import timings

KEY = jax.random.key(0)
CASES = ((6, 64, 128, 100), (6, 64, 128, 1000), (6, 16, 30, 1500))  # d, batch, hidden, N
TORCH = os.environ.get("TENFOLD_TORCH_PYTHON")


class Net(eqx.Module):
    w1: jax.Array
    b1: jax.Array
    w2: jax.Array
    b2: jax.Array

    def __init__(self, size, hidden, key):
        first, second = jax.random.split(key)
        self.w1 = jax.random.normal(first, (size, hidden)) / size**0.5
        self.w2 = 0.5 * jax.random.normal(second, (hidden, size)) / hidden**0.5
        self.b1, self.b2 = jnp.zeros(hidden), jnp.zeros(size)

    def __call__(self, t, z, args):
        return jnp.tanh(z @ self.w1 + self.b1) @ self.w2 + self.b2


class Diffusion(eqx.Module):
    net: Net

    def __call__(self, t, z, args):
        return 0.1 + jax.nn.sigmoid(self.net(t, z, args))


def nets(size, hidden):
    f, h, g = (Net(size, hidden, key) for key in jax.random.split(KEY, 3))
    return f, h, Diffusion(g)


def loss(ends, costs):
    return jnp.mean(jnp.sum(ends**2, axis=-1)) + jnp.mean(costs)


def ours(gradient, method, model, z0, noise):
    f, h, g = model
    found = sde.sdesolve(
        sde.SDE(f, g, noise="diagonal", kind="stratonovich"), z0, jnp.array([0.0, 1.0]), noise,
        method=method, substeps=noise.n, gradient=gradient, path_cost=sde.PathKL(h),
    )  # fmt: skip
    return loss(found.zs[-1], found.cost)


class Spread(dfx.ControlTerm):
    """g dW for z, and nothing for the divergence, which is one more state."""

    def prod(self, vf, control):
        return vf * control, jnp.zeros(control.shape[:1])


def drift(t, state, model):
    f, h, g = model
    slope = f(t, state[0], None)
    return slope, sde.kl_rate(slope, h(t, state[0], None), g(t, state[0], None), "diagonal")


def theirs(adjoint, solver, path, model, z0, noise):
    n = noise.n
    if path == "tree":
        noise = dfx.VirtualBrownianTree(0.0, 1.0, 0.5 / n, z0.shape, noise.key)
    spread = Spread(lambda t, state, model: model[2](t, state[0], None), noise)
    even = isinstance(adjoint, dfx.BacksolveAdjoint)  # it can't go backwards on given times
    found = dfx.diffeqsolve(
        dfx.MultiTerm(dfx.ODETerm(drift), spread), solver, 0.0, 1.0, 1 / n if even else None,
        (z0, jnp.zeros(z0.shape[:1])), model, adjoint=adjoint, max_steps=n + 1,
        stepsize_controller=dfx.ConstantStepSize() if even else dfx.StepTo(jnp.arange(n + 1) / n),
    )  # fmt: skip
    return loss(found.ys[0][-1], found.ys[1][-1])


RECURSIVE, DIRECT = dfx.RecursiveCheckpointAdjoint(), dfx.DirectAdjoint()
HEUN, THEIR_HEUN = sde.ReversibleHeun(), dfx.ReversibleHeun()
ON_GRID_NOISE = {
    "Exact": partial(ours, sde.Exact(), HEUN),
    "Checkpoint": partial(ours, sde.Checkpoint(), HEUN),
    "Store": partial(ours, sde.Store(), HEUN),
    "Diffrax, recursive checkpoints, our noise": partial(theirs, RECURSIVE, THEIR_HEUN, "ours"),
}
OTHERS = {
    "Diffrax, recursive checkpoints, its tree": partial(theirs, RECURSIVE, THEIR_HEUN, "tree"),
    "Diffrax, direct, its tree": partial(theirs, DIRECT, THEIR_HEUN, "tree"),
    "Backsolve (midpoint)": partial(ours, sde.Backsolve(), sde.Midpoint()),
    "Diffrax, backsolve (midpoint), its tree": partial(
        theirs, dfx.BacksolveAdjoint(), dfx.Midpoint(), "tree"
    ),
}


def floor(n, model, z0):
    """All fields n times forward, and n times differentiated, with nothing else."""

    def fields(model, z):
        f, h, g = model
        slope, spread = f(0.0, z, None), g(0.0, z, None)
        return slope, spread, sde.kl_rate(slope, h(0.0, z, None), spread, "diagonal")

    def forward(z, _):
        slope, spread, rate = fields(model, z)
        return z + 1e-6 * (slope + spread + rate[:, None]), None

    def backward(carry, _):
        z, total = carry
        values, pull = jax.vjp(fields, model, z)
        of_model, of_z = pull(values)
        return (z + 1e-6 * of_z, jax.tree.map(jnp.add, total, of_model)), None

    z = jax.lax.scan(forward, z0, None, n)[0]
    return jax.lax.scan(backward, (z, jax.tree.map(jnp.zeros_like, model)), None, n)[0]


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def torch_seconds(model, z0, noise, gradient):
    """torchsde's seconds, {} where there is none."""
    if not TORCH:
        return {}
    n = noise.n
    steps = jax.vmap(lambda i: noise.increment(i).w)(jnp.arange(n))
    arrays = {"z0": z0, "dw": steps, "n": n, "rounds": 5, "gradient": gradient}
    for name, net in zip("fhg", (model[0], model[1], model[2].net)):
        arrays |= {f"{name}_{part}": getattr(net, part) for part in ("w1", "b1", "w2", "b2")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.npz"
        np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})
        script = Path(__file__).with_name("_sde_torch.py")
        said = subprocess.run([TORCH, script, file], capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stderr)
    found = json.loads(said.stdout)
    print(f"torch {found['versions'][0]}, torchsde {found['versions'][1]}", file=sys.stderr)
    return found["seconds"]


def gradients(size, batch, hidden, n):
    model = nets(size, hidden)
    z0 = jax.random.normal(jax.random.fold_in(KEY, 1), (batch, size))
    noise = sde.GridNoise(jax.random.fold_in(KEY, 2), z0.shape, 0.0, 1.0, n)
    routes = {
        name: eqx.filter_jit(eqx.filter_grad(lambda both, noise, route=route: route(*both, noise)))
        for name, route in (ON_GRID_NOISE | OTHERS).items()
    }
    calls = {name: partial(route, (model, z0), noise) for name, route in routes.items()}
    calls["floor"] = partial(eqx.filter_jit(partial(floor, n)), model, z0)
    exact = flat(calls["Exact"]())
    for name in ON_GRID_NOISE:
        off = np.linalg.norm(flat(calls[name]()) - exact) / np.linalg.norm(exact)
        assert off < 1e-3, f"the gradient of {name} is off by {off:.1g}"
    seconds = timings(calls, spend=5.0, statistic=median)
    seconds |= torch_seconds(model, z0, noise, exact)
    for name, taken in sorted(seconds.items(), key=lambda pair: pair[1]):
        print(
            f"| {size}, {batch}, {hidden}, {n} | {name} | {1e3 * taken:.1f} "
            f"| {taken / seconds['Exact']:.2f} | {taken / seconds['floor']:.2f} |",
            flush=True,
        )


def increments(n=1000, shape=(64, 6)):
    noise = sde.GridNoise(KEY, shape, 0.0, 1.0, n)
    ours = sde.VirtualBrownianTree(KEY, shape, 0.0, 1.0, tol=0.5 / n)
    tree = dfx.VirtualBrownianTree(0.0, 1.0, 0.5 / n, shape, KEY)
    chunk = 50  # drawn at once; the tree is quickest with all of them, or one by one

    def drawn(noise):
        return jax.lax.map(lambda i: noise.increment(i).w, jnp.arange(n), batch_size=chunk)

    def asked(size, path):
        def between(i):
            return path.evaluate(i / n, (i + 1) / n)

        return jax.lax.map(between, jnp.arange(n), batch_size=size)

    calls = {
        "GridNoise": partial(eqx.filter_jit(drawn), noise),
        "VirtualBrownianTree": partial(eqx.filter_jit(partial(asked, chunk)), ours),
        "Diffrax's tree, one by one": partial(eqx.filter_jit(partial(asked, None)), tree),
        "Diffrax's tree, all at once": partial(eqx.filter_jit(partial(asked, n)), tree),
    }
    seconds = timings(calls, statistic=median)
    for name, taken in seconds.items():
        print(f"| {name} | {1e3 * taken:.2f} | {taken / seconds['GridNoise']:.1f} |")


def main() -> None:
    here = environment(int(os.environ["NPROC"]))
    versions = ", ".join(f"{name} {here['versions'][name]}" for name in ("jax", "diffrax"))
    print(f"{here['machine']}, {here['cores']} cores, {here['threads']} thread; {versions}\n")
    print("| increments of (64, 6) | ms for 1000 | relative to GridNoise |\n|---|---|---|")
    increments()
    print("\n| d, batch, hidden, N | route | ms | relative to Exact | to the floor |")
    print("|---|---|---|---|---|")
    for case in CASES:
        gradients(*case)


if __name__ == "__main__":
    main()
