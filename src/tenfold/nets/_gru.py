"""A recurrent encoder of irregular series with gaps, read from the end to the start."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from tenfold.base.typing import Key


class BackwardGRU(eqx.Module):
    """Reads (x, mask, gap to the next time) backwards: state i sums up the series from i on.

    (batch, times, channels) -> (times, batch, hidden).
    """

    cell: eqx.nn.GRUCell

    def __init__(
        self, channels: int, hidden: int, *, dtype: DTypeLike | None = None, key: Key
    ) -> None:
        dtype = jnp.zeros((), dtype).dtype
        self.cell = eqx.nn.GRUCell(2 * channels + 1, hidden, dtype=dtype, key=key)

    def __call__(
        self,
        xs: Float[Array, "batch times channels"],
        ts: Float[Array, " times"],
        mask: Bool[Array, "batch times channels"],
    ) -> Float[Array, "times batch hidden"]:
        """Values where `mask` is False are never looked at. Gaps are in units of their mean."""
        gaps = jnp.diff(ts, append=ts[-1:]) / jnp.mean(jnp.diff(ts))
        seen = jnp.where(mask, xs, jnp.zeros_like(xs))
        times = jnp.broadcast_to(gaps[None, :, None].astype(xs.dtype), (*xs.shape[:2], 1))
        inputs = jnp.concatenate([seen, mask.astype(xs.dtype), times], axis=-1)
        start = jnp.zeros((xs.shape[0], self.cell.hidden_size), xs.dtype)

        def read(state: Array, x: Array) -> tuple[Array, Array]:
            state = jax.vmap(self.cell)(x, state)
            return state, state

        return jax.lax.scan(read, start, jnp.moveaxis(inputs, 1, 0), reverse=True)[1]
