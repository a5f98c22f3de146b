"""Learning differential equations that are easy to solve (arXiv 2007.04504), on digits.

A neural ODE classifies images; R_K, the mean square of the K-th total derivative of its
trajectories, is added to the loss; what an adaptive solver then needs at test time is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from tenfold import _papers, taylor
from tenfold.base import rademacher_like, vmapped
from tenfold.lab.data import digits, mnist
from tenfold.lab.run import Run
from tenfold.lab.studies import _taylor_costs as costs
from tenfold.lab.studies import _taylor_figures as figures
from tenfold.lab.studies import _taylor_toy as toy
from tenfold.lab.study import Arm, Claim, Figure, Preset, Study
from tenfold.lab.train import GradientStep, Minibatches, fit
from tenfold.nets import TimeMLP


@dataclass(frozen=True)
class Config:
    data: Literal["digits", "mnist"] = "digits"
    """The images."""
    train_size: int = 1437
    """Training images used."""
    hidden: int = 100
    """Hidden units of the dynamics."""
    steps: int = 280
    """Training steps, of `batch` images each."""
    batch: int = 100
    learning_rate: float = 1e-2
    """Adam's, decayed to zero along a cosine."""
    solver_steps: int = 4
    """Fixed Bosh3 steps in training."""
    weights: tuple[float, ...] = (0.1, 0.3, 0.1, 0.01, 0.003)
    """Weight of R_1, ..., R_5: R_K scales like frequency^(2K)."""
    rnode: float = 0.1
    """RNODE's weight, of its kinetic and its Jacobian term alike."""
    sweep: tuple[float, ...] = (0.1, 10.0)
    """Factors of the weights in the trade-off picture."""
    tested: int = 360
    """Test images on which Dopri5 is counted (claim C1)."""
    matrix: int = 16
    """Test images on which every solver is counted (claim C2): order 2 at 1e-8 is slow."""
    toy_steps: int = 600
    cost_order: int = 6
    """K of the cost comparison (claim C4)."""


SOLVERS = {"heun": dfx.Heun(), "bosh3": dfx.Bosh3(), "dopri5": dfx.Dopri5(), "dopri8": dfx.Dopri8()}
TOLERANCES = {"1e-6": 1e-6, "1e-8": 1e-8}
FIRST_STEP = 0.05


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
    size = 64 if config.data == "digits" else 784
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
        reg = taylor.SpeedReg(
            self.order, self.weight, self.quadrature, coefficients=self.coefficients
        )
        return {f"R_{self.order}": reg}


class Rnode(eqx.Module):
    """Kinetic energy and Jacobian, with one probe for a whole solve."""

    weight: Array

    def __call__(self, x: Array, key: Array) -> dict[str, taylor.AbstractRegulariser]:
        probe = rademacher_like(key, x)
        return {
            "kinetic": taylor.KineticReg(self.weight, "step"),
            "jacobian": taylor.JacFrobReg(probe, self.weight, "step"),
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
        ce = cross_entropy(net.logits(solution.ys[-1]), y)
        return ce + taylor.penalty(regs, integrals), {"cross_entropy": ce, **means(integrals)}


def cross_entropy(logits: Array, labels: Array) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def means(integrals: Mapping[str, Array]) -> dict[str, Array]:
    return {name: jnp.mean(value) for name, value in integrals.items()}


@cache
def optimiser(rate: float, steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


# ---- Test: count the evaluations of the unregularised field -----------------------------------
@eqx.filter_jit
def solve(field: Any, x: Array, tolerance: Array, solver: dfx.AbstractSolver, joint: bool):
    """Evaluations and z(1): each example with steps of its own, or (`joint`) the batch as one."""

    def one(start: Array):
        term = dfx.ODETerm(vmapped(field) if joint else field)
        controller = dfx.PIDController(rtol=tolerance, atol=tolerance)
        solution = dfx.diffeqsolve(
            term, solver, 0.0, 1.0, FIRST_STEP, start, stepsize_controller=controller,
            max_steps=None, throw=False,
        )  # fmt: skip
        return taylor.count_nfe(solution, solver), solution.ys[-1]

    return one(x) if joint else jax.vmap(one)(x)


def double(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float64) if eqx.is_inexact_array(x) else x, tree)


def count(field: Any, x: np.ndarray, solver: str, tolerance: str, joint: bool):
    """Mean evaluations, and z(1). Float64: below 1e-7 a float32 solver counts its own noise."""
    tolerated = np.float64(TOLERANCES[tolerance])
    counts, end = solve(double(field), double(x), tolerated, SOLVERS[solver], joint)
    return float(jnp.mean(counts)), end


def performance(net: Classifier, config: Config) -> dict[str, float]:
    """Test loss, accuracy and Dopri5's evaluations an image, in float64."""
    x, y = data(config.data, "test", config.tested)
    metrics, end = {}, jnp.asarray(x)
    for tolerance in TOLERANCES:
        metrics[f"nfe_{tolerance}"], end = count(net.field, x, "dopri5", tolerance, False)
    logits = double(net).logits(end)
    metrics["cross_entropy"] = float(cross_entropy(logits, jnp.asarray(y)))
    metrics["accuracy"] = float(np.mean(np.argmax(logits, -1) == y))
    return metrics


def matrix(net: Classifier, config: Config) -> dict[str, float]:
    """Evaluations of every solver at every tolerance, an image at a time and jointly."""
    x, _ = data(config.data, "test", config.matrix)
    return {
        f"{'joint' if joint else 'each'}_{solver}_{tolerance}": count(
            net.field, x, solver, tolerance, joint
        )[0]
        for solver in SOLVERS
        for tolerance in TOLERANCES
        for joint in (False, True)
    }


# ---- Arms -------------------------------------------------------------------------------------
def trained(config: Config, key: Array, run: Run, regularisers: Any, name: str = "") -> Classifier:
    init, train = jax.random.split(key)
    step = GradientStep(Objective(regularisers, config.solver_steps),
                        optimiser(config.learning_rate, config.steps))  # fmt: skip
    state = step.init(model(config, init))
    batches = Minibatches(data(config.data, "train", config.train_size), config.batch, run.seed)
    return fit(run, step, state, batches, config.steps, key=train, name=name).model


def measured(net: Classifier, config: Config) -> dict[str, float]:
    with jax.enable_x64(True):
        return performance(net, config) | matrix(net, config)


def speed(config: Config, key: Array, run: Run, *, order: int, factor: float = 1.0):
    weight = factor * config.weights[order - 1] if order else 0.0
    return measured(trained(config, key, run, Speed(order, jnp.float32(weight))), config)


def rnode(config: Config, key: Array, run: Run):
    return measured(trained(config, key, run, Rnode(jnp.float32(config.rnode))), config)


def sweep(config: Config, key: Array, run: Run, *, order: int) -> dict[str, list[float]]:
    """The trade-off over weights, for the picture."""
    rows = []
    for factor in config.sweep:
        weight = jnp.float32(factor * config.weights[order - 1])
        net = trained(config, key, run, Speed(order, weight), f"x{factor:g}")
        with jax.enable_x64(True):
            rows.append(performance(net, config))
    return {name: [row[name] for row in rows] for name in ("nfe_1e-8", "cross_entropy")}


ORDERS = (1, 2, 3, 4, 5)
ARMS = {
    "none": Arm(partial(speed, order=0), model, "no regulariser"),
    **{f"R_{k}": Arm(partial(speed, order=k), model, f"R_{k} in the loss") for k in ORDERS},
    "RNODE": Arm(rnode, model, "kinetic energy and Jacobian (Finlay et al. 2020)"),
    "toy-none": Arm(partial(toy.fit_map, order=0), toy.model, "z + z^3, no regulariser"),
    "toy-R_3": Arm(partial(toy.fit_map, order=3), toy.model, "z + z^3, R_3 in the loss"),
    "exact": Arm(costs.closed_forms, says="derivatives against closed forms"),
    "schemes": Arm(costs.schemes, says="four ways to the K-th derivative"),
    "overhead": Arm(costs.overhead, says="a training step with R_2, by quadrature"),
    **{f"sweep-R_{k}": Arm(partial(sweep, order=k), says="other weights", seeds=1) for k in ORDERS},
}

SABOTAGES = {
    "weight-0": {
        **{f"R_{k}": Arm(partial(speed, order=k, factor=0.0), model) for k in ORDERS},
        "toy-R_3": Arm(partial(toy.fit_map, order=3, factor=0.0), toy.model),
    },
    "overweight": {"R_2": Arm(partial(speed, order=2, factor=1e4), model)},
    "rnode-off": {"RNODE": Arm(partial(speed, order=0), model)},
    "no-time-series": {"exact": Arm(partial(costs.closed_forms, scheme=costs.time_forgotten))},
    "slower-scheme": {
        "schemes": Arm(partial(costs.schemes, scheme="restarted")),
        "overhead": Arm(partial(costs.overhead, scheme="restarted")),
    },
}

SCALE = "8x8 digits and a smaller net; the paper has MNIST"
fewer = partial(
    Claim, direction="lower", compare="ratio", tolerance=1 / 3, sabotage="weight-0",
    where="section 5", scale=SCALE,
)  # fmt: skip

CLAIMS = (
    fewer("taylor/nfe-1e-8", "R_2 lets Dopri5 take 1.5 times fewer evaluations at 1e-8",
          metric="nfe_1e-8", arm="R_2", against="none"),
    fewer("taylor/nfe-1e-6", "R_2 lets Dopri5 take 1.5 times fewer evaluations at 1e-6",
          metric="nfe_1e-6", arm="R_2", against="none"),
    Claim("taylor/accuracy", "... at a test accuracy at most half a point lower",
          "section 5", "accuracy", "R_2", "none", "higher", -0.005, "overweight", scale=SCALE),
    Claim("taylor/cross-entropy", "... and a test loss at most 0.02 nats higher",
          "section 5", "cross_entropy", "R_2", "none", "lower", -0.02, "overweight", scale=SCALE),
    fewer("taylor/order-2", "R_2 frees the steps of a solver of order 2 (Heun)",
          metric="each_heun_1e-8", arm="R_2", against="none"),
    fewer("taylor/order-3", "R_3 frees the steps of a solver of order 3 (Bosh3)",
          metric="each_bosh3_1e-8", arm="R_3", against="none"),
    fewer("taylor/order-5", "R_5 frees the steps of a solver of order 5 (Dopri5)",
          metric="each_dopri5_1e-8", arm="R_5", against="none"),
    fewer("taylor/order-8", "R_5 frees even the steps of a solver of order 8 (Dopri8)",
          metric="each_dopri8_1e-8", arm="R_5", against="none"),
    fewer("taylor/joint", "R_2 helps as well when the whole batch shares its steps",
          metric="joint_dopri5_1e-8", arm="R_2", against="none"),
    fewer("taylor/kinetic", "at Heun, R_2 beats the plain kinetic energy R_1",
          metric="each_heun_1e-8", arm="R_2", against="R_1", tolerance=0.0),
    Claim("taylor/rnode", "R_2 and RNODE need about as many evaluations (within a quarter)",
          "section 5", "nfe_1e-8", "R_2", "RNODE", "near", 0.25, "rnode-off", "ratio", scale=SCALE),
    Claim("taylor/closed-forms", "Taylor mode gives exact total derivatives, time included",
          "section 4", "error", "exact", 0.0, "near", 1e-10, "no-time-series"),
    Claim("taylor/floor", "the gradient of z^(K) costs 3 K dense products a layer, no more",
          "section 4", "dense_over_floor", "schemes", 1.0, "near", 0.01, "slower-scheme"),
    Claim("taylor/restarted", "... and takes half the time of restarted jets, or less",
          "section 4", "restarted_time_ratio", "schemes", 1.0, "higher", 1.0, "slower-scheme"),
    Claim("taylor/overhead", "a training step with R_2 takes at most twice a plain one",
          "section 6", "step_time_ratio", "overhead", 1.0, "lower", -1.0, "slower-scheme"),
    fewer("taylor/toy-nfe", "on the map z + z^3, R_3 straightens the paths",
          metric="nfe", arm="toy-R_3", against="toy-none"),
    Claim("taylor/toy-fit", "... and the map is still learnt (mean square error below 1e-3)",
          "figure 1", "error", "toy-R_3", 0.0, "near", 1e-3, "weight-0"),
)

SMALL = Config()
STUDY = Study(
    paper=_papers.TAYLOR,
    presets={
        "smoke": Preset("15 s, 2 cores", replace(
            SMALL, train_size=200, steps=4, tested=20, matrix=2, toy_steps=4, cost_order=2,
        ), seeds=1),
        "small": Preset("2 min, 2 cores", SMALL, seeds=5),
        "mnist": Preset("10 min, 2 cores", replace(
            SMALL, data="mnist", train_size=20_000, steps=1_000, tested=500,
            learning_rate=3e-3,
        ), seeds=3),
        "paper": Preset("hours, 1 GPU (untested at this size)", replace(
            SMALL, data="mnist", train_size=60_000, steps=96_000, tested=10_000, matrix=100,
            learning_rate=1e-3, solver_steps=8,
        ), seeds=3),
    },
    arms=ARMS,
    claims=CLAIMS,
    sabotages=SABOTAGES,
    figures=(
        Figure("trade-off", "Evaluations of Dopri5 at 1e-8 against test loss, for each K.",
               figures.trade_off),
        Figure("matrix", "Evaluations of each solver, relative to no regulariser.", figures.matrix),
        Figure("toy", "Learnt trajectories of the map z + z^3.", figures.toy),
        Figure("cost", "The gradient of z^(K): dense products and time.", figures.cost),
    ),
    differences=(
        "Adam with a cosine schedule on 8x8 digits (MNIST in the other presets), not SGD.",
        "Test metrics; the authors' MNIST curves are training metrics.",
        "Training uses a few fixed Bosh3 steps and R_K by one node a step; the paper an adaptive "
        "solver. Evaluations are counted on the unregularised field, in float64, an image at a "
        "time, rejected steps included, first step 0.05.",
    ),
)  # fmt: skip
