"""What a learnt field is like at test time: its loss, and its evaluations by every solver."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from tenfold import taylor
from tenfold.base import vmapped

SOLVERS = {"heun": dfx.Heun(), "bosh3": dfx.Bosh3(), "dopri5": dfx.Dopri5(), "dopri8": dfx.Dopri8()}
TOLERANCES = {"1e-6": 1e-6, "1e-8": 1e-8}
FIRST_STEP = 0.05


@eqx.filter_jit
def _solve(field: Any, x: Any, tolerance: Any, solver: dfx.AbstractSolver, joint: bool):
    """Evaluations and z(1): each example with steps of its own, or (`joint`) the batch as one."""

    def one(start: Array):
        term = dfx.ODETerm(vmapped(field) if joint else field)
        solution = dfx.diffeqsolve(
            term,
            solver,
            0.0,
            1.0,
            FIRST_STEP,
            start,
            stepsize_controller=dfx.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=None,
            throw=False,
        )
        end: Any = solution.ys
        return taylor.count_nfe(solution, solver), end[-1]

    return one(x) if joint else jax.vmap(one)(x)


def double(tree: Any) -> Any:
    """The same tree in float64 (numpy's, so that JAX's x64 mode need not be on)."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64) if eqx.is_inexact_array(x) else x, tree)


def evaluations(field: Any, x: np.ndarray, solver: str, tolerance: str, joint: bool):
    """Mean evaluations, and z(1). In float64: near 1e-7 a float32 solver counts its own noise."""
    with jax.enable_x64(True):
        tolerated = np.float64(TOLERANCES[tolerance])
        counts, end = _solve(double(field), double(x), tolerated, SOLVERS[solver], joint)
        return float(jnp.mean(counts)), end


def dopri5(field: Any, x: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """z(1), and Dopri5's evaluations an image at every tolerance."""
    metrics, end = {}, None
    for tolerance in TOLERANCES:
        metrics[f"nfe_{tolerance}"], end = evaluations(field, x, "dopri5", tolerance, False)
    return end, metrics


def cross_entropy(logits: Array, labels: Any) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def performance(net: Any, x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Test loss and accuracy of z(1), and Dopri5's evaluations, in float64."""
    end, metrics = dopri5(net.field, x)
    with jax.enable_x64(True):
        logits = double(net).logits(end)
        metrics["cross_entropy"] = float(cross_entropy(logits, labels))
    return metrics | {"accuracy": float(np.mean(np.argmax(logits, -1) == labels))}


def matrix(field: Any, x: np.ndarray) -> dict[str, float]:
    """Every solver at every tolerance, an image at a time (`each_`) and all at once (`joint_`)."""
    metrics = {}
    for solver in SOLVERS:
        for tolerance in TOLERANCES:
            for how in ("each", "joint"):
                metrics[f"{how}_{solver}_{tolerance}"], _ = evaluations(
                    field, x, solver, tolerance, how == "joint"
                )
    return metrics
