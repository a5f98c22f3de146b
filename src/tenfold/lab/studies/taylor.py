"""Learning differential equations that are easy to solve (arXiv 2007.04504), on digits.

A neural ODE classifies images with R_K in its loss; what a solver then needs is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import _papers, taylor
from tenfold.base import rademacher_like, vmapped
from tenfold.lab.data import digits, mnist
from tenfold.lab.run import Run
from tenfold.lab.studies import _taylor_costs as costs
from tenfold.lab.studies import _taylor_count as count
from tenfold.lab.studies import _taylor_figures as figures
from tenfold.lab.studies import _taylor_toy as toy
from tenfold.lab.studies._taylor_claims import CLAIMS, DIFFERENCES
from tenfold.lab.studies._taylor_optimiser import optimiser
from tenfold.lab.study import Arm, Preset, Study
from tenfold.lab.train import GradientStep, Minibatches, fit
from tenfold.nets import TimeMLP
from tenfold.taylor.baselines import restarted_coefficients as restarted


@dataclass(frozen=True)
class Config:
    data: Literal["digits", "mnist"] = "digits"
    """The images."""
    train_size: int = 1437
    """Training images used."""
    hidden: int = 100
    """Hidden units of the dynamics."""
    steps: int = 280
    """Training steps."""
    batch: int = 100
    """Images a training step."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """adam, decayed to zero along a cosine; or sgd with momentum 0.9, divided by 10 at 3/8, 5/8
    and 7/8 of the steps, as the authors have it."""
    learning_rate: float = 1e-2
    """At the start."""
    solver_steps: int = 4
    """Fixed Bosh3 steps in training."""
    weights: tuple[float, ...] = (0.1, 0.3, 0.1, 0.01, 0.003)
    """Weight of R_1, ..., R_5: R_K scales like frequency^(2K)."""
    rnode: tuple[float, float] = (0.2, 0.003)
    """RNODE's weights, of the kinetic energy and of the Jacobian."""
    sweep: tuple[float, ...] = (0.1, 10.0)
    """Factors of the weights in the trade-off picture."""
    tested: int = 360
    """Test images on which Dopri5 is counted (claim C1)."""
    matrix: int = 16
    """Test images on which every solver is counted (claim C2): order 2 at 1e-8 is slow."""
    toy_steps: int = 600
    """Training steps of the toy (claim C8)."""
    cost_order: int = 6
    """K of the cost comparison (claim C4)."""


# ---- Data -------------------------------------------------------------------------------------
@cache
def data(name: str, split: Literal["train", "test"], count: int) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        loaded = digits.load(split)
        return loaded.images[:count], loaded.labels[:count]
    loaded = mnist.load(split)
    images = loaded.scaled(np.s_[:count]).reshape(-1, 784)
    return images, loaded.labels[:count].astype(np.int32)


# ---- Model ------------------------------------------------------------------------------------
class Classifier(eqx.Module):
    """z(0) = image, dz/dt = field, logits = head(tanh z(1))."""

    field: TimeMLP
    head: eqx.nn.Linear

    def logits(self, z: Array) -> Array:
        return jax.vmap(self.head)(jnp.tanh(z))


def model(config: Config, key: Array) -> Classifier:
    size = {"digits": 64, "mnist": 784}[config.data]
    field, head = jax.random.split(key)
    return Classifier(
        TimeMLP(size, config.hidden, dtype=jnp.float32, key=field),
        eqx.nn.Linear(size, 10, dtype=jnp.float32, key=head),
    )


# ---- Objective --------------------------------------------------------------------------------
class Speed(eqx.Module):
    """R_K with its weight; none for order 0."""

    order: int = eqx.field(static=True)
    weight: Array
    coefficients: Any = eqx.field(static=True, default=taylor.taylor_coefficients)
    quadrature: taylor.Quadrature = eqx.field(static=True, default="step")

    def __call__(self, x: Array, key: Array) -> dict[str, taylor.AbstractRegulariser]:
        if self.order == 0:
            return {}
        reg = taylor.SpeedReg(self.order, self.weight, self.quadrature, (0,), self.coefficients)
        return {f"R_{self.order}": reg}


class Rnode(eqx.Module):
    """Kinetic energy and Jacobian, with one probe for a whole solve."""

    kinetic: Array
    jacobian: Array

    def __call__(self, x: Array, key: Array) -> dict[str, taylor.AbstractRegulariser]:
        probe = rademacher_like(key, x)
        return {
            "kinetic": taylor.KineticReg(self.kinetic, "step"),
            "jacobian": taylor.JacFrobReg(probe, self.jacobian, "step"),
        }


class Objective(eqx.Module):
    """Cross-entropy of z(1) plus the weighted regularisers."""

    regularisers: Speed | Rnode
    solver_steps: int = eqx.field(static=True)

    def __call__(self, net: Classifier, batch: tuple[Array, Array], key: Array):
        x, y = batch
        key, drawn = jax.random.split(key)
        regs = self.regularisers(x, drawn)
        n = self.solver_steps
        solution, integrals = taylor.solve_regularised(
            dfx.ODETerm(vmapped(net.field)), dfx.Bosh3(), 0.0, 1.0, 1 / n, x, regs,
            max_steps=n, key=key,
        )  # fmt: skip
        end: Any = solution.ys
        ce = count.cross_entropy(net.logits(end[-1]), y)
        means = {name: jnp.mean(value) for name, value in integrals.items()}
        return ce + taylor.penalty(regs, integrals), {"cross_entropy": ce, **means}


# ---- Arms -------------------------------------------------------------------------------------
def gradient_step(config: Config, regularisers: Speed | Rnode) -> GradientStep:
    update = optimiser(config.optimiser, config.learning_rate, config.steps)
    return GradientStep(Objective(regularisers, config.solver_steps), update)


def trained(config: Config, key: Array, run: Run, regularisers: Any, name: str = "") -> Classifier:
    init, train = jax.random.split(key)
    step = gradient_step(config, regularisers)
    batches = Minibatches(data(config.data, "train", config.train_size), config.batch, run.seed)
    state = step.init(model(config, init))
    return fit(run, step, state, batches, config.steps, key=train, name=name).model


def speed(config: Config, factor: float, *, order: int) -> Speed:
    return Speed(order, jnp.float32(factor * config.weights[order - 1] if order else 0.0))


def rnode(config: Config, factor: float) -> Rnode:
    return Rnode(*(jnp.float32(factor * weight) for weight in config.rnode))


ORDERS = {f"R_{k}": partial(speed, order=k) for k in (1, 2, 3, 4, 5)}
HOWS = {"none": partial(speed, order=0), **ORDERS, "RNODE": rnode}


def classify(config: Config, key: Array, run: Run, *, name: str, factor: float = 1.0):
    """Trains with `HOWS[name]` in the loss; seed 0 also at the weights of the sweep."""

    def measured(factor: float, label: str = "") -> tuple[Classifier, dict[str, Any]]:
        net = trained(config, key, run, HOWS[name](config, factor), label)
        return net, count.performance(net, *data(config.data, "test", config.tested))

    net, metrics = measured(factor)
    metrics |= count.matrix(net.field, data(config.data, "test", config.matrix)[0])
    if name != "none" and run.seed == 0:
        others = [measured(f * factor, f"x{f:g}")[1] for f in config.sweep]
        metrics |= {f"sweep_{k}": [o[k] for o in others] for k in ("nfe_1e-8", "cross_entropy")}
    return metrics


def one_step(config: Config, key: Array, **how: Any) -> Callable[[], Any]:
    """Takes a training step with `Speed(**how)` at each call (claim C5)."""
    advance, batch = gradient_step(config, Speed(**how)), data(config.data, "train", config.batch)
    return costs.training_step(advance, model(config, key), batch, key)


def classifier(name: str, factor: float = 1.0) -> Arm:
    says = {"none": "no regulariser", "RNODE": "kinetic energy and Jacobian (Finlay et al. 2020)"}
    return Arm(partial(classify, name=name, factor=factor), model, says.get(name, f"with {name}"))


OVERHEAD = partial(costs.overhead, step=one_step)
ARMS = {
    "overhead": Arm(OVERHEAD, says="a training step with R_2, by quadrature"),
    "none": classifier("none"),
    "schemes": Arm(costs.schemes, says="four ways to the K-th derivative"),
    **{name: classifier(name) for name in (*ORDERS, "RNODE")},
    "toy-none": Arm(partial(toy.fit_map, order=0), toy.model, "z + z^3, no regulariser"),
    "toy-R_3": Arm(partial(toy.fit_map, order=3), toy.model, "z + z^3, R_3 in the loss"),
    "exact": Arm(costs.closed_forms, says="derivatives against closed forms"),
}
SABOTAGES = {
    "weight-0": {
        **{name: classifier(name, 0.0) for name in ORDERS},
        "toy-R_3": Arm(partial(toy.fit_map, order=3, factor=0.0), toy.model),
    },
    "overweight": {  # both weights come out near 1e3
        "R_2": classifier("R_2", 1e4),
        "toy-R_3": Arm(partial(toy.fit_map, order=3, factor=1e6), toy.model),
    },
    "rnode-off": {"RNODE": classifier("none")},
    "no-time-series": {"exact": Arm(partial(costs.closed_forms, scheme=costs.time_forgotten))},
    "slower-scheme": {
        "schemes": Arm(partial(costs.schemes, scheme="restarted")),
        "overhead": Arm(partial(OVERHEAD, order=5, quadrature="stage", coefficients=restarted)),
    },
}
SMALL = Config()
SMOKE = replace(SMALL, train_size=200, steps=4, tested=20, matrix=2, toy_steps=4, cost_order=2)
MNIST = replace(SMALL, data="mnist", train_size=20_000, steps=1_000, tested=500, learning_rate=3e-3)
PAPER = replace(
    MNIST, train_size=60_000, optimiser="sgd", learning_rate=0.1, steps=96_000, solver_steps=8,
    weights=(1e-2, 1e-3, 6e-5, 6e-6, 6e-7), tested=10_000, matrix=100,
)  # fmt: skip

STUDY = Study(
    paper=_papers.TAYLOR,
    presets={
        "smoke": Preset("1 min, 2 cores", SMOKE, seeds=1),
        "small": Preset("2.5 min, 2 cores", SMALL, seeds=5),
        "mnist": Preset("30 min, 2 cores", MNIST, seeds=3),
        "paper": Preset("hours, 1 GPU; not tested at this size", PAPER, seeds=3),
    },
    arms=ARMS,
    claims=CLAIMS,
    sabotages=SABOTAGES,
    figures=figures.FIGURES,
    differences=DIFFERENCES,
)
