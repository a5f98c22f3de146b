"""Which studies exist, known by name without importing any of them (hence without JAX)."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from tenfold.lab import studies

if TYPE_CHECKING:
    from tenfold.lab.study import Study

GROUP = "tenfold.studies"
"""Entry-point group in which another distribution adds studies: `name = "module:STUDY"`."""


class UnknownName(ValueError):
    """No such study, preset, field, arm or verb; the message is one line with the nearest name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = list(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class MisnamedStudy(ValueError):
    """A package's entry point and its study disagree; the message is one line."""


def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _own() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(studies.__path__) if not m.name.startswith("_")]


def names() -> list[str]:
    """Every study: tenfold's own, then those of other installed packages."""
    own = _own()
    return own + [name for name in _foreign() if name not in own]


def load(name: str) -> "Study":
    """The study called `name`.

    **Raises:** `UnknownName` with the nearest right one; `MisnamedStudy` when a package lists one
    under a name that isn't its own.
    """
    if name not in names():
        raise UnknownName("study", name, names())
    if name in _own():
        return importlib.import_module(module_of(name)).STUDY
    study = _foreign()[name].load()
    if study.name != name:
        raise MisnamedStudy(
            f"{module_of(name)} lists its study {study.name!r} under the name {name!r}; its entry "
            "point must have the study's own name"
        )
    return study


def module_of(name: str) -> str:
    """The module in which the study called `name` is written."""
    return f"{studies.__name__}.{name}" if name in _own() else _foreign()[name].module
