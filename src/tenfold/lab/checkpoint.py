"""Checkpoints of any pytree of arrays: asynchronous, atomic, verified when read (Orbax)."""

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

_ERRORS_A_SAVE = 8
"""Orbax's `close` raises one error a call, of the several threads that one save may have."""


class CheckpointError(RuntimeError):
    """A checkpoint can't be written or read; the message is one line that names it."""


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_stored(leaf: Any) -> bool:
    """Arrays, or their shapes; empty ones hold nothing, and Orbax refuses them."""
    return (eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)) and leaf.size > 0


def _raw(tree: PyTree) -> dict[str, Any]:
    """The array leaves by number; PRNG keys as their raw words. (Orbax knows no eqx.Module.)"""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _is_stored(leaf)]
    return {f"{i:05d}": jax.random.key_data(x) if _is_key(x) else x for i, x in enumerate(leaves)}


def _digest(raw: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, leaf in sorted(raw.items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _filled(like: PyTree, raw: dict[str, Any]) -> PyTree:
    values = iter(raw[name] for name in sorted(raw))

    def fill(leaf: Any) -> Any:
        if not _is_stored(leaf):
            empty = isinstance(leaf, jax.ShapeDtypeStruct)
            return jnp.zeros(leaf.shape, leaf.dtype) if empty else leaf
        value = next(values)
        if _is_key(leaf):
            return jax.random.wrap_key_data(value, dtype=leaf.dtype)
        return value

    return jax.tree.map(fill, like)


class Checkpoints:
    """The checkpoints of one training, `<folder>/<step>/`, newest last.

    Each holds the named pytrees it was given and a digest of their bytes; the digest is compared
    when one is read, since a damaged chunk may well decode.
    """

    def __init__(self, folder: Path, *, keep: int = 2, owner: bool = True):
        """`owner`: this process alone writes here, so what a crash left half-written may go."""
        self.folder = folder
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=True,
            # In the background, a folder that can't be made holds up the process for 20 minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            create=owner,
        )
        if owner:  # not by Orbax, which would still be at it when the next save begins
            for leftover in folder.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
        try:
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except OSError as error:
            raise CheckpointError(f"cannot use {folder}: {error.strerror or error}") from error

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, items: dict[str, PyTree], *, wait: bool = False) -> None:
        """Writes `items` as checkpoint `step`, in the background unless `wait`.

        **Raises:** `CheckpointError`, for this checkpoint or one still being written.
        """
        raw = {name: _raw(tree) for name, tree in items.items()}
        digests = {name: _digest(leaves) for name, leaves in raw.items()}
        arguments = {name: ocp.args.StandardSave(leaves) for name, leaves in raw.items() if leaves}
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(digests=ocp.args.JsonSave(digests), **arguments),
                force=True,
            )
            if wait:
                self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritable(error) from error

    def restore(self, step: int, like: dict[str, PyTree]) -> dict[str, PyTree]:
        """The items of checkpoint `step`; `like` gives their structure, shapes and dtypes.

        **Raises:** `CheckpointError` when it is missing, damaged, or of another shape.
        """
        shapes = {
            name: jax.tree.map(ocp.utils.to_shape_dtype_struct, _shapes(tree))
            for name, tree in like.items()
        }
        arguments = {
            name: ocp.args.StandardRestore(shape) for name, shape in shapes.items() if shape
        }
        try:
            found = self._manager.restore(
                step, args=ocp.args.Composite(digests=ocp.args.JsonRestore(), **arguments)
            )
        except Exception as error:
            raise CheckpointError(
                f"{self.folder / str(step)} can't be read: {_line(error)}"
            ) from error
        leaves = {name: found.get(name) or {} for name in like}
        for name in like:
            if _digest(leaves[name]) != found["digests"].get(name):
                raise CheckpointError(f"{self.folder / str(step)} is damaged: its digest differs")
        return {name: _filled(tree, leaves[name]) for name, tree in like.items()}

    def restore_latest(
        self, like: dict[str, PyTree]
    ) -> tuple[int, dict[str, PyTree] | None, Sequence[str]]:
        """Step and items of the newest whole checkpoint, and what was wrong with newer ones.

        (0, None, ...) when there is none: a training then starts anew, and loses nothing but time.
        """
        troubles = []
        for step in reversed(self.steps()):
            try:
                return step, self.restore(step, like), troubles
            except CheckpointError as error:
                troubles.append(str(error))
                self.discard(step)
        return 0, None, troubles

    def discard(self, step: int) -> None:
        """Moves a damaged checkpoint out of the way, for its owner to look at."""
        source, number = self.folder / str(step), 1
        while (target := self.folder / f"damaged-{step}-{number}").exists():
            number += 1
        if source.exists():
            source.rename(target)
        self._manager.reload()

    def close(self) -> None:
        """Waits for what is being written.

        **Raises:** `CheckpointError` when that fails.
        """
        errors: list[Exception] = []
        for _ in range(_ERRORS_A_SAVE):
            try:
                self._manager.close()
                break
            except Exception as error:
                errors.append(error)
        if errors:
            raise self._unwritable(errors[0]) from errors[0]

    def _unwritable(self, error: Exception) -> CheckpointError:
        """It names no step: Orbax may be telling of the one before."""
        return CheckpointError(f"cannot write a checkpoint below {self.folder}: {_line(error)}")


def _shapes(tree: PyTree) -> dict[str, Any]:
    """`_raw` for arrays or for their `ShapeDtypeStruct`s."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _is_stored(leaf)]

    def shape(leaf: Any) -> Any:
        return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf

    return {f"{i:05d}": shape(leaf) for i, leaf in enumerate(leaves)}


def _line(error: BaseException) -> str:
    """An error's own words in one short line; the system's, where it is the system's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        code = re.search(r"\bos_error_code='(\d+)'", str(cause))  # an error from C++
        if code:
            return os.strerror(int(code[1]))
        cause = cause.__cause__ or cause.__context__
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]
