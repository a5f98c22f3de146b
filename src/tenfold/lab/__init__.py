"""The lab: measures each paper's claims on this machine. It may open files, clocks and plots."""

from pathlib import Path
from typing import Any

from tenfold.lab.claim import Claim as Claim
from tenfold.lab.claim import Verdict as Verdict
from tenfold.lab.claim import judge as judge
from tenfold.lab.results import Results as Results
from tenfold.lab.study import Arm as Arm
from tenfold.lab.study import Figure as Figure
from tenfold.lab.study import Paper as Paper
from tenfold.lab.study import Preset as Preset
from tenfold.lab.study import Study as Study


def load(run: str | Path, arm: str, seed: int) -> Any:
    """The trained model of a finished unit of the run in the folder `run`.

    **Raises:** `FileError` when the folder holds no run; `UnknownName` for an arm that the study
    lacks; `CheckpointError` when the unit is not finished or has no whole checkpoint.
    """
    from tenfold.lab.loading import load_model

    return load_model(Path(run), arm, seed)
