"""From a run's checkpoint back to a model."""

import contextlib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from tenfold.lab import registry
from tenfold.lab.checkpoint import CheckpointError, Checkpoints
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import RunDirectory, restored_config


def load_model(path: Path, arm: str, seed: int) -> Any:
    """See `tenfold.lab.load`."""
    directory = RunDirectory(path)
    header = directory.header()
    study = registry.load(header["study"])
    arms = study.arms_of(header.get("sabotage"))
    if arm not in arms:
        raise UnknownName("arm", arm, arms)
    build = arms[arm].model
    if build is None:
        raise CheckpointError(f"the arm {arm!r} of {study.name} trains no model")
    folder = directory.checkpoints(arm, seed)
    if not directory.finished(arm, seed):
        raise CheckpointError(f"{arm} seed {seed} is not finished; tenfold resume {path} goes on")
    if not folder.is_dir():
        raise CheckpointError(f"{folder} does not exist")
    config = restored_config(study, header)
    like = eqx.filter_eval_shape(build, config, jax.random.key(seed))
    with contextlib.closing(Checkpoints(folder, owner=False)) as checkpoints:
        steps = checkpoints.steps()
        if not steps:
            raise CheckpointError(f"{folder} holds no checkpoint")
        return checkpoints.restore(steps[-1], {"model": like})["model"]
