"""The closed form: z ~ N(0, 1), x | z ~ N(z + shift, 1), seen from an encoder that is off."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from tenfold import sumo
from tenfold.base import normal_log_prob
from tenfold.base.typing import Key
from tenfold.lab.run import Run
from tenfold.lab.train import GradientStep, fit

SEEN = 1.0
"""The datum: log p = -log(4 pi)/2 - x^2/4, and its derivative in the shift is x/2."""
TRUTH = -0.5 * math.log(4 * math.pi) - SEEN**2 / 4
SLOPE = SEEN / 2
BLOCK = 20_000
"""Estimates a program."""

Tamper = Callable[[sumo.RowPlan], sumo.RowPlan]


class Joint(eqx.Module):
    """log p(x, z); trained, where anything is, in `shift`."""

    shift: Array

    def __call__(self, x: Array, z: Array) -> Array:
        one = jnp.ones((), z.dtype)
        return normal_log_prob(z, 0 * one, one) + normal_log_prob(x, z + self.shift, one)


class Encoder(eqx.Module):
    """N(slope x, scale^2), beside the posterior N(x/2, 1/2)."""

    slope: Array
    log_scale: Array

    def __call__(self, x: Array) -> sumo.DiagonalNormal:
        return sumo.DiagonalNormal(self.slope * x, jnp.exp(self.log_scale))


def encoder() -> Encoder:
    """As far off as at x = 1 loses 0.16 nats of the ELBO."""
    return Encoder(jnp.array(0.2), jnp.log(jnp.array(0.9)))


@eqx.filter_jit
def _values(key: Key, plan: sumo.RowPlan) -> Array:
    x = jnp.full((plan.batch,), SEEN)
    return sumo.sumo(Joint(jnp.array(0.0)), encoder(), x, key, plan=plan).value


@eqx.filter_jit
def _values_and_slopes(key: Key, plan: sumo.RowPlan) -> tuple[Array, Array]:
    """Estimates of log p and of its derivative in the shift, which each datum has for itself."""
    x = jnp.full((plan.batch,), SEEN)

    def total(shifts: Array) -> tuple[Array, Array]:
        # A datum is its value and its own shift: one gradient gives all derivatives.
        model = lambda seen, z: Joint(seen[1])(seen[0], z)  # noqa: E731
        of = lambda seen: encoder()(seen[0])  # noqa: E731
        value = sumo.sumo(model, of, (x, shifts), key, plan=plan).value
        return jnp.sum(value), value

    slopes, value = jax.grad(total, has_aux=True)(jnp.zeros_like(x))
    return value, slopes


@dataclass(frozen=True)
class Draws:
    """How estimates of the closed form are drawn, and tampered with."""

    kind: Any = "loo"
    tail: sumo.AbstractTail | None = None
    m: int = 1
    tamper: Tamper | None = None

    def plans(self, n: int, seed: int) -> Iterator[tuple[int, sumo.RowPlan]]:
        """Block by block."""
        size = min(n, BLOCK // self.m)
        tail = self.tail or (sumo.PowerTail() if self.kind == "loo" else sumo.GeometricTail())
        rows = size * sumo.expected_rows(tail, self.m, self.kind)
        some = 64 * math.ceil(1.3 * rows / 64)
        ladder = sumo.Ladder(some, multiple=some)  # one program, nearly always
        for i in range(n // size):
            number = _number(seed, i)
            plan = sumo.RowPlan.draw(number, size, tail, self.m, self.kind, ladder=ladder)
            yield i, plan if self.tamper is None else self.tamper(plan)

    def values(self, n: int, key: Key, seed: int) -> tuple[np.ndarray, float]:
        """n estimates of log p, float64, and the rows a datum they took."""
        found, rows = [], []
        with jax.enable_x64(True):
            for i, plan in self.plans(n, seed):
                rows.append(np.mean(plan.count))
                found.append(np.asarray(_values(jax.random.fold_in(key, i), plan)))
        return np.concatenate(found), float(np.mean(rows))

    def slopes(self, n: int, key: Key, seed: int) -> np.ndarray:
        """n estimates of the derivative of log p in the shift, float64."""
        with jax.enable_x64(True):
            keys = ((jax.random.fold_in(key, i), plan) for i, plan in self.plans(n, seed))
            return np.concatenate([np.asarray(_values_and_slopes(*pair)[1]) for pair in keys])


def _number(seed: int, i: int) -> int:
    return 1_000_003 * seed + i


# ---- Tampering --------------------------------------------------------------------------------
def multiplied(plan: sumo.RowPlan) -> sumo.RowPlan:
    """Terms times the survival instead of over it, as some published code has them."""
    with np.errstate(divide="ignore"):
        weight = np.where(plan.weight > 0, 1 / plan.weight, 0)
    return eqx.tree_at(lambda p: p.weight, plan, weight)


def bucketed(plan: sumo.RowPlan, top: int = 4) -> sumo.RowPlan:
    """Series cut so that a datum has at most `top` rows, as a static shape would want it."""
    kept = plan.valid & (plan.pos < top)
    weight = np.where(kept, plan.weight, 0)
    return eqx.tree_at(lambda p: p.weight, plan, weight)


# ---- Arms -------------------------------------------------------------------------------------
def estimates(config: Any, key: Key, run: Run, *, how: Draws = Draws()) -> dict[str, Any]:
    """Bias, spread and tail of an estimator; the error of a mean of 40,000 rows."""
    return _described(*how.values(config.draws, key, run.seed))


def gradients(config: Any, key: Key, run: Run, *, how: Draws = Draws()) -> dict[str, Any]:
    """The same of the gradient in the model's parameter."""
    slopes = how.slopes(config.draws // 2, key, run.seed)
    return {"bias": float(slopes.mean() - SLOPE), "spread": float(slopes.std())}


def bound(config: Any, key: Key, run: Run, *, k: int) -> dict[str, Any]:
    """IWAE_k of the same datum."""
    del run

    @jax.jit
    def some(key: Key) -> Array:
        x = jnp.full((size,), SEEN)
        return sumo.baselines.iwae(Joint(jnp.array(0.0)), encoder(), x, key, k=k).value

    size = min(config.draws, BLOCK)
    with jax.enable_x64(True):
        parts = [some(jax.random.fold_in(key, i)) for i in range(config.draws // size)]
        values = np.concatenate([np.asarray(part) for part in parts])
    return _described(values, float(k))


ROWS = 40_000
"""Decoder rows of one mean, in `error_of_mean`."""


def _described(values: np.ndarray, rows: float) -> dict[str, Any]:
    per_mean = max(1, min(int(ROWS / rows), len(values) // 2))
    means = values[: len(values) // per_mean * per_mean].reshape(-1, per_mean).mean(1)
    quantiles = np.linspace(0, 1, 400)
    return {
        "bias": float(values.mean() - TRUTH),
        "spread": float(values.std()),
        "tail_index": sumo.pareto_k(np.abs(values - np.median(values))),
        "furthest": float(np.max(np.abs(values - TRUTH))),
        "rows": rows,
        "error_of_mean": float(np.sqrt(np.mean((means - TRUTH) ** 2))),
        "quantiles": np.quantile(values - TRUTH, quantiles),
    }


def costs(config: Any, key: Key, run: Run) -> dict[str, Any]:
    """Bias and spread against rows, of SUMO, its published form, the jackknife and IWAE."""
    found: dict[str, Any] = {}
    n = config.draws // 8
    for kind, tail in (("loo", sumo.PowerTail()), ("paper", sumo.PaperTail())):
        rows = []
        for m in (1, 4, 16):
            values, used = Draws(kind, tail, m).values(n, key, run.seed)
            rows.append((used, values.mean() - TRUTH, values.std()))
        found |= _columns(kind, rows)
    for name in ("iwae", "jackknife"):
        rows = []
        for k in (2, 6, 20):
            with jax.enable_x64(True):
                values = np.asarray(_baseline(name, k, n)(jax.random.fold_in(key, k)))
            rows.append((k, values.mean() - TRUTH, values.std()))
        found |= _columns(name, rows)
    return found


def _columns(name: str, rows: list[tuple[float, float, float]]) -> dict[str, Any]:
    columns = zip(("rows", "bias", "spread"), np.asarray(rows, float).T)
    return {f"{name}_{what}": column for what, column in columns}


@cache
def _baseline(name: str, k: int, n: int) -> Callable[[Key], Array]:
    def values(key: Key) -> Array:
        x = jnp.full((n,), SEEN)
        way = getattr(sumo.baselines, name)
        return way(Joint(jnp.array(0.0)), encoder(), x, key, k=k).value

    return jax.jit(values)


# ---- The encoder's loss -----------------------------------------------------------------------
class Variance(eqx.Module):
    """The loss of the encoder alone: SUMO's second moment about the others' mean."""

    weight: float = eqx.field(static=True)

    def __call__(self, nets: Encoder, batch: Any, key: Key):
        x, plan = batch
        joint = Joint(jnp.zeros((), x.dtype))
        loss, _ = sumo.nll_and_encoder_loss(
            joint, nets, x, key, plan=plan, encoder_weight=self.weight
        )
        return loss, {}


@cache
def _adam() -> optax.GradientTransformation:
    return optax.chain(sumo.clip_unbiased(1.0), optax.adam(0.02))


def encoder_training(config: Any, key: Key, run: Run, *, weight: float = 1.0) -> dict[str, Any]:
    """The estimate's variance before and after the encoder has followed its gradient."""
    step = GradientStep(Variance(weight), _adam())
    x = np.full(256, SEEN, np.float32)
    ladder = sumo.Ladder(4096, ratio=4.0, multiple=1024)  # one program, nearly always

    def batch(i: int) -> tuple[np.ndarray, sumo.RowPlan]:
        # All data are one: the others' mean is the baseline that a datum's own mean would be.
        return x, sumo.RowPlan.draw(_number(run.seed, i), len(x), ladder=ladder)

    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), encoder())
    state = fit(run, step, step.init(start), batch, config.encoder_steps, key=key)

    def variance(net: Encoder, name: int) -> float:
        plan = sumo.RowPlan.draw(_number(run.seed, name), BLOCK)
        joint = Joint(jnp.zeros((), jnp.float32))
        seen = jnp.full((BLOCK,), SEEN, jnp.float32)
        return float(jnp.var(_evaluated(joint, net, seen, jax.random.fold_in(key, name), plan)))

    before, after = variance(start, 900_001), variance(state.model, 900_002)
    return {
        "variance_ratio": after / before,
        "clipped": float(state.opt_state[0].frequency),
        "mean": float(state.model.slope * SEEN),
        "scale": float(jnp.exp(state.model.log_scale)),
    }


@eqx.filter_jit
def _evaluated(joint: Joint, net: Encoder, x: Array, key: Key, plan: sumo.RowPlan) -> Array:
    return sumo.sumo(joint, net, x, key, plan=plan).value
