"""Clipping a gradient, and saying how much of it was lost."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array


class ClipReport(NamedTuple):
    """State of `clip_unbiased`."""

    steps: Array
    clipped: Array
    """Steps at which the norm was above the limit."""
    norm: Array
    """Sum over steps of the gradient's norm."""
    removed: Array
    """Sum over steps of the norm that was cut off."""

    @property
    def frequency(self) -> Array:
        """The share of steps clipped."""
        return self.clipped / jnp.maximum(self.steps, 1)

    @property
    def share_removed(self) -> Array:
        """The share of the gradients' mass that was cut off: a measure of the bias."""
        return self.removed / jnp.maximum(self.norm, jnp.finfo(self.norm.dtype).tiny)


def clip_unbiased(max_norm: float) -> optax.GradientTransformation:
    """Scales a gradient down to `max_norm` (global norm), and reports what that costs.

    An unbiased gradient that is clipped is not unbiased any more. The state, a `ClipReport`, tells
    how often that happened and what share of the mass it removed: keep both near 0.

    **Raises:** `ValueError` unless max_norm > 0.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_unbiased: `max_norm` must be > 0, got {max_norm}")

    def init(params: Any) -> ClipReport:
        del params
        # Arrays of their own: a training step that is donated its state can't be given one twice.
        counts = [jnp.zeros((), jnp.int32) for _ in range(2)]
        return ClipReport(*counts, *[jnp.zeros((), jnp.float32) for _ in range(2)])

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, ClipReport]:
        del params
        norm = optax.tree.norm(updates)
        kept = jnp.minimum(norm, jnp.asarray(max_norm, norm.dtype))
        factor = kept / jnp.where(norm > 0, norm, jnp.ones_like(norm))
        wide = norm.astype(jnp.float32)
        report = ClipReport(
            state.steps + 1,
            state.clipped + (norm > max_norm).astype(jnp.int32),
            state.norm + wide,
            state.removed + (wide - kept.astype(jnp.float32)),
        )
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), report

    return optax.GradientTransformation(init, update)  # pyright: ignore
