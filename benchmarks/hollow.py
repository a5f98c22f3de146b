"""What an exact divergence costs, and f itself, beside plain implementations of a hollow net.

1. f and its divergence over f, for d = 16, 64, 256, 784: on the plain layout (one d x d_h output of
   the conditioner, masks applied at each call, tau on [x_i, h_i]) and on ours (two halves, masks
   applied once, tau's first layer split); beside one probe of Hutchinson's through the same net.
2. f itself at d = 784: the plain layout, the same with its masks applied once, and ours.
3. Conditioners: masked and leave-one-out.

The plain net holds our net's own numbers, and every way is first checked to give the same f and the
same divergence. H is at least 2 (d - 1), so that no pair is lost; d_h = 8, tau of 32 units.

Run as `make bench`, or `python benchmarks/hollow.py`. One thread, float32; medians of the seconds
that this process computed, so that a busy machine doesn't matter much.
"""

import os
from functools import partial
from statistics import median

os.environ.setdefault("NPROC", "1")  # one thread: timings repeat; XLA reads it when it starts

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold import hollow
from tenfold.base import EXACT, Hutchinson, rademacher_like, value_and_divergence
from tenfold.lab.environment import environment
from tenfold.lab.timing import timings

KEY, D_H, TAU, TIME = jax.random.key(0), 8, 32, 0.3
CASES = ((16, 64), (64, 64), (256, 64), (784, 16))


class Plain(eqx.Module):
    """The net as one writes it down: weights of full size, and a 0-1 mask for each."""

    first: jax.Array
    offset: jax.Array
    last: jax.Array
    bias: jax.Array
    tau: tuple[jax.Array, ...]
    masks: "Masks" = eqx.field(static=True)
    masked: bool = eqx.field(static=True)

    def __init__(self, net: hollow.HollowNet) -> None:
        """With the numbers of `net`, whose masks are read off its folded weights."""
        c, tau = net.conditioner, net.transformer
        d, half = c.bias.shape[0], c.first.shape[0] // 2
        self.first, self.offset = c.first, c.offset(TIME, None)
        halves = [w.reshape(half, d, -1) for w in c.last]
        zeros = [jnp.zeros_like(w) for w in halves]
        # Forward units feed the first half of each h_i, reverse ones the rest.
        top = jnp.concatenate([halves[0], zeros[1]], axis=2)
        bottom = jnp.concatenate([zeros[0], halves[1]], axis=2)
        self.last = jnp.concatenate([top, bottom]).reshape(2 * half, -1)
        self.bias = c.bias.reshape(-1)
        joint = jnp.concatenate([tau.own[None], tau.given])
        self.tau = (joint, tau.offset(TIME, None), *jax.tree.leaves(tau.rest))
        ones = jax.tree.map(jnp.ones_like, c)
        seen = ones.fold()
        feeds = [np.asarray(w).reshape(half, d, -1) for w in seen.last]
        empty = [np.zeros_like(w) for w in feeds]
        rows = [np.concatenate([feeds[0], empty[1]], 2), np.concatenate([empty[0], feeds[1]], 2)]
        self.masks = Masks(np.asarray(seen.first), np.concatenate(rows).reshape(2 * half, -1))
        self.masked = True

    def once(self) -> "Plain":
        """The masks applied now, and not at each call."""
        first, last = self.first * self.masks.first, self.last * self.masks.last
        net = eqx.tree_at(lambda n: (n.first, n.last), self, (first, last))
        object.__setattr__(net, "masked", False)
        return net

    def held(self, t, x, args=None):
        first, last = self.first, self.last
        if self.masked:
            first, last = first * self.masks.first, last * self.masks.last
        h = jnp.tanh(first @ x + self.offset) @ last + self.bias
        h = h.reshape(x.size, D_H)
        joint, offset, weight, bias = self.tau
        return lambda u: (
            (jnp.tanh(jnp.concatenate([u[:, None], h], axis=1) @ joint + offset) @ weight)[:, 0]
            + bias
        )

    def __call__(self, t, x, args=None):
        return self.held(t, x, args)(x)

    def value_and_jacobian_diagonal(self, t, x, args=None):
        return jax.jvp(self.held(t, x, args), (x,), (jnp.ones_like(x),))


class Masks:
    """Two constants, hashed by identity."""

    def __init__(self, first: np.ndarray, last: np.ndarray) -> None:
        self.first, self.last = first, last


@eqx.filter_jit
def value(net, x):
    return jax.vmap(lambda x: net(TIME, x))(x)


@eqx.filter_jit
def divergence(net, x):
    return jax.vmap(lambda x: value_and_divergence(net, TIME, x, how=EXACT))(x)


@eqx.filter_jit
def probed(net, x, probe):
    each = lambda x, e: value_and_divergence(net, TIME, x, how=Hutchinson(e))  # noqa: E731
    return jax.vmap(each)(x, probe)


def nets(d, batch):
    width = max(256, 2 * (d - 1))
    net = hollow.hollow_mlp(d, D_H, width, tau_width=TAU, dtype=jnp.float32, key=KEY)
    x = jax.random.normal(jax.random.fold_in(KEY, 1), (batch, d))
    plain = Plain(net)
    layouts = {"plain": plain, "plain, masks once": plain.once(), "ours": hollow.fold_masks(net)}
    return net, layouts, x


def check(layouts, x):
    """All layouts give one f and one divergence; for small d that of the dense Jacobian."""
    truth = divergence(layouts["ours"], x)
    for name, net in layouts.items():
        np.testing.assert_allclose(value(net, x), truth[0], atol=1e-4, err_msg=name)
        for found, expected in zip(divergence(net, x), truth):
            np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-4, err_msg=name)
    if x.shape[1] <= 64:
        jacobian = jax.jacfwd(lambda x: layouts["ours"](TIME, x))(x[0])
        np.testing.assert_allclose(jnp.trace(jacobian), truth[1][0], atol=1e-3)


def costs():
    print("| d, batch | layout | f, ms | + exact divergence | over f | + one probe | over f |")
    print("|---|---|---|---|---|---|---|")
    for d, batch in CASES:
        _, layouts, x = nets(d, batch)
        check(layouts, x)
        probe = rademacher_like(KEY, x)
        calls = {}
        for name, net in layouts.items():
            calls[name, "f"] = partial(value, net, x)
            calls[name, "exact"] = partial(divergence, net, x)
            calls[name, "probe"] = partial(probed, net, x, probe)
        seconds = timings(calls, spend=3.0, statistic=median)
        for name in layouts:
            f, exact, noisy = (1e3 * seconds[name, what] for what in ("f", "exact", "probe"))
            print(f"| {d}, {batch} | {name} | {f:.3f} | {exact:.3f} | {exact / f:.2f} "
                  f"| {noisy:.3f} | {noisy / f:.2f} |", flush=True)  # fmt: skip


def itself():
    d, batch = CASES[-1]
    net, layouts, x = nets(d, batch)
    layouts["ours, masks at each call"] = net
    check(layouts, x)
    calls = {name: partial(value, net, x) for name, net in layouts.items()}
    seconds = timings(calls, spend=4.0, statistic=median)
    print(f"\n| f, d = {d}, batch {batch} | ms | over ours |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {1e3 * taken:.2f} | {taken / seconds['ours']:.2f} |", flush=True)


def conditioners():
    print("\n| f and divergence, d | masked, ms | leave-one-out, ms |\n|---|---|---|")
    for d, batch in CASES:
        net, layouts, x = nets(d, batch)
        other = hollow.LeaveOneOutMLP(d, D_H, 256, dtype=jnp.float32, key=KEY)
        rival = hollow.HollowNet(other, net.transformer)
        calls = {
            "ours": partial(divergence, layouts["ours"], x),
            "one": partial(divergence, rival, x),
        }
        seconds = timings(calls, spend=1.0, statistic=median)
        print(f"| {d} | {1e3 * seconds['ours']:.2f} | {1e3 * seconds['one']:.2f} |", flush=True)


def main() -> None:
    here = environment(int(os.environ["NPROC"]))
    print(f"{here['machine']}, {here['cores']} cores, {here['threads']} thread; "
          f"jax {here['versions']['jax']}\n")  # fmt: skip
    costs()
    itself()
    conditioners()


if __name__ == "__main__":
    main()
