"""What a data file is, the folders it may lie in, and the one error of this package."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

Place = Literal["TENFOLD_DATA", "cache"]
Source = Literal["made", "embedded", "download", "folder"]
"""Made by a formula; in an installed package; at an official home; only in the user's folder."""


class DataError(RuntimeError):
    """A data file is absent, can't be fetched, or isn't what it should be; says what to do.

    The message is a single line, whatever the text that it was made of.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class Digest:
    """A hash that the makers of a data set, or this project, published."""

    algorithm: Literal["md5", "sha256"]
    value: str
    of: Literal["content", "file"] = "content"
    """`content`: of what is inside a gzip wrapper, which may differ between mirrors."""


@dataclass(frozen=True)
class File:
    """One file of a data set."""

    name: str
    most: int
    """The most bytes that its content may have, decompressed: a bound, not its size."""
    starts: bytes = b""
    """How its content starts, so that an error page isn't taken for data."""
    published: Digest | None = None

    @property
    def gzipped(self) -> bool:
        return self.name.endswith(".gz")


@dataclass(frozen=True)
class DataSet:
    """One row of the catalogue."""

    name: str
    says: str
    """What it is, in a line."""
    source: Source
    files: tuple[File, ...] = ()
    homes: tuple[str, ...] = ()
    """Addresses ending in `/` that serve `files`, the first being preferred."""
    instead: tuple[File, ...] = ()
    """What a TENFOLD_DATA folder may hold instead of `files`."""

    @property
    def needs(self) -> str:
        """The files that a folder must hold, in words."""
        listed = [", ".join(f"{self.name}/{f.name}" for f in g) for g in (self.files, self.instead)]
        return " or ".join(text for text in listed if text)


def offline() -> bool:
    """Whether TENFOLD_OFFLINE forbids the network."""
    return os.environ.get("TENFOLD_OFFLINE", "") not in ("", "0")


def data_folder() -> Path | None:
    """The folder that TENFOLD_DATA names, if it is set. A name of no folder is an error."""
    named = os.environ.get("TENFOLD_DATA", "")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataError(f"TENFOLD_DATA={named} is not a folder: correct it, or unset it")
    return folder


def cache_folder() -> Path:
    """The user's cache for tenfold: TENFOLD_CACHE, else where this system keeps such things."""
    named = os.environ.get("TENFOLD_CACHE", "")
    if named:
        return Path(named).expanduser()
    return Path(_pooch().os_cache("tenfold"))


def _pooch():
    try:
        import pooch
    except ImportError as error:
        raise DataError("the data cache needs pooch: pip install 'tenfold[lab]'") from error
    return pooch


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Has `write` fill `path` so that no reader ever sees a part of it; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as scratch:
        part = Path(scratch) / path.name
        with part.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)


def chosen(option: str, options: tuple[str, ...], what: str = "split") -> str:
    """`option`, checked to be one of `options`."""
    if option not in options:
        raise ValueError(f"no {what} {option!r}: one of {', '.join(map(repr, options))}")
    return option
