"""Taylor mode and R_K beside what one would use instead; every rival is first checked to agree.

1. The gradient of the K-th Taylor coefficient of a solution, for a net 64-128-128-64 and a batch
   of 64: our online scheme, `jax.experimental.jet` restarted at each order, nested JVPs, Newton
   doubling. Dense products in the compiled program, forward and in the gradient: 3 K and 9 K - 1
   are needed. Seconds are those of the gradient.
2. The gradient of a loss with R_K on 8 fixed Bosh3 steps: `solve_regularised` by each quadrature,
   and an augmented ODE written by hand with nested JVPs, relative to the solve without R_K.

Run as `make bench`, or `python benchmarks/taylor.py`. One thread, float32; run times are
medians of the seconds that this process computed, so that a busy machine doesn't matter much.
"""

import os
from functools import partial
from statistics import median

os.environ.setdefault("NPROC", "1")  # one thread: timings repeat; XLA reads it when it starts

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold import taylor
from tenfold.lab.environment import environment
from tenfold.lab.studies import _taylor_costs as costs
from tenfold.lab.timing import timings

KEY, STEPS = jax.random.key(0), 8


def derivatives() -> None:
    print("| K | scheme | forward | gradient | trace, s | compile, s | run, ms | ratio to online |")
    print("|---|---|---|---|---|---|---|---|")
    for order in range(2, 9):
        names = [name for name in costs.SCHEMES if name != "nested" or order <= 6]
        programs = {name: costs.gradient(name, order) for name in names}
        seconds = costs.timed(programs, KEY, statistic=median)
        assert programs["online"].dense == 9 * order - 1
        for name, program in programs.items():
            forward = costs.compiled(partial(costs.coefficient, name, order)).dense
            print(
                f"| {order} | {name} | {forward} | {program.dense} | {program.trace_seconds:.2f} "
                f"| {program.compile_seconds:.2f} | {1e3 * seconds[name]:.2f} "
                f"| {seconds[name] / seconds['online']:.1f} |"
            )


def by_hand(net, z, order):
    """The pair (z, r) as one would write it: dr/dt = |d^K z / dt^K|^2 / D, by nested JVPs."""

    def field(t, pair, net):
        def along(h):
            one = jnp.ones_like(t)
            return lambda t, z: jax.jvp(h, (t, z), (one, costs.field(t, z, net)))[1]

        h = lambda t, z: costs.field(t, z, net)  # noqa: E731
        slope = h(t, pair[0])
        for _ in range(order - 1):
            h = along(h)
        return slope, jnp.mean(h(t, pair[0]) ** 2, axis=-1)

    start = (z, jnp.zeros(len(z)))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(field), dfx.Bosh3(), 0.0, 1.0, 1 / STEPS, start, net, max_steps=STEPS
    )
    return solution.ys[0][-1], {"R": solution.ys[1][-1]}


def ours(net, z, order, quadrature):
    regs = {"R": taylor.SpeedReg(order, quadrature=quadrature)} if order else {}
    solution, integrals = taylor.solve_regularised(
        dfx.ODETerm(costs.field), dfx.Bosh3(), 0.0, 1.0, 1 / STEPS, z, regs,
        args=net, max_steps=STEPS, key=KEY,
    )  # fmt: skip
    return solution.ys[-1], integrals


def gradient(solve, *how):
    """The compiled gradient of mean |z(1)|^2 + mean R_K, and what it is of."""

    def loss(net, z):
        end, integrals = solve(net, z, *how)
        speed = sum((jnp.mean(value) for value in integrals.values()), jnp.zeros(()))
        return jnp.mean(end**2) + speed, (end, speed)

    return eqx.filter_jit(eqx.filter_grad(loss, has_aux=True))


def solves(order: int) -> None:
    net = costs.build(KEY)
    z = jax.random.normal(KEY, (costs.BATCH, costs.SIZE))
    programs = {"without R_K": gradient(ours, 0, "stage")}
    programs |= {how: gradient(ours, order, how) for how in ("stage", "step", "mc")}
    programs["by hand"] = gradient(by_hand, order)
    found = {name: program(net, z) for name, program in programs.items()}
    for _, (end, _) in found.values():
        np.testing.assert_allclose(end, found["by hand"][1][0], rtol=1e-4, atol=1e-5)
    for same in zip(*(jax.tree.leaves(found[name]) for name in ("stage", "by hand"))):
        np.testing.assert_allclose(*same, rtol=1e-3, atol=1e-3 * np.abs(same[1]).max())
    calls = {name: partial(program, net, z) for name, program in programs.items()}
    seconds = timings(calls, statistic=median)
    for name, taken in seconds.items():
        ratio = taken / seconds["without R_K"]
        speed = float(found[name][1][1])
        print(f"| {order} | {name} | {speed:.4g} | {1e3 * taken:.2f} | {ratio:.2f} |")


def main() -> None:
    here = environment(int(os.environ["NPROC"]))
    versions = ", ".join(f"{name} {here['versions'][name]}" for name in ("jax", "diffrax"))
    print(f"{here['machine']}, {here['cores']} cores, {here['threads']} thread; {versions}\n")
    print("The gradient of the K-th coefficient: dense products, seconds to make it, time\n")
    derivatives()
    print("\nThe gradient of a loss with R_K on 8 Bosh3 steps\n")
    print("| K | quadrature | R_K | run, ms | relative to the solve alone |\n|---|---|---|---|---|")
    for order in (2, 4, 6):
        solves(order)


if __name__ == "__main__":
    main()
