"""Where a file is: the user's folder, the cache, or its official home, in that order."""

from dataclasses import dataclass
from pathlib import Path

from tenfold.lab.data import _download
from tenfold.lab.data._files import (
    DataError,
    DataSet,
    File,
    Place,
    cache_folder,
    data_folder,
    offline,
)
from tenfold.lab.data._hashes import recorded, verify


@dataclass(frozen=True)
class Found:
    """A file that is there and is what it should be, as far as can be known."""

    path: Path
    place: Place
    digest: str
    """Hash of its content, by which what is decoded from it is kept."""
    verified: str
    """What that hash proves, in words."""


def in_folder(dataset: DataSet, file: File) -> Path | None:
    """The file's path in TENFOLD_DATA, if it is there."""
    folder = data_folder()
    path = folder / dataset.name / file.name if folder else None
    return path if path and path.is_file() else None


def where(dataset: DataSet, file: File) -> tuple[Place, Path] | None:
    """Where the file lies on this machine, unchecked."""
    if path := in_folder(dataset, file):
        return "TENFOLD_DATA", path
    path = cache_folder() / dataset.name / file.name
    return ("cache", path) if path.is_file() else None


def examine(dataset: DataSet, file: File, place: Place, path: Path) -> Found:
    """Checks the content of a file that is there; DataError if it isn't what it should be."""
    in_cache = place == "cache" and not file.published
    known = recorded(f"{dataset.name}/{file.name}") if in_cache else None
    try:
        return Found(path, place, *verify(path, file, known))
    except DataError as error:
        remedy = (
            f"delete it and run `tenfold data fetch {dataset.name}`"
            if place == "cache"
            else "replace it, or unset TENFOLD_DATA to have it downloaded"
            if dataset.homes
            else "replace it"
        )
        raise DataError(f"{error}; {remedy}") from error


def absent(dataset: DataSet, file: File, reason: str) -> DataError:
    """The error that says both ways to get the file."""
    folder = data_folder()
    lacks = f", TENFOLD_DATA={folder} lacks it" if folder else ""
    ways = f"set TENFOLD_DATA to a folder that holds {dataset.needs}"
    if dataset.homes:
        ways += f", or run `tenfold data fetch {dataset.name}` with a network"
    return DataError(f"no {dataset.name}/{file.name} here{lacks}, and {reason}: {ways}")


def locate(dataset: DataSet, file: File, *, download: bool = True) -> Found:
    """The file, checked: from TENFOLD_DATA, else the cache, else its official home.

    A file in TENFOLD_DATA that is not what it should be is an error, never replaced by another.
    """
    if here := where(dataset, file):
        return examine(dataset, file, *here)
    if not dataset.homes:
        raise absent(dataset, file, "we know no lasting official address of it")
    if not download:
        raise absent(dataset, file, "downloading was not asked for")
    if offline():
        raise absent(dataset, file, "TENFOLD_OFFLINE forbids a download")
    try:
        path = _download.download(dataset, file)
    except DataError as error:
        raise absent(dataset, file, f"the download failed ({error})") from error
    return examine(dataset, file, "cache", path)
