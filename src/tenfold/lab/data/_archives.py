"""Members of tar and zip files, read in memory: nothing is ever extracted to disk."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from tenfold.lab.data._files import DataError


def _safe(path: Path, name: str) -> str:
    """The member's name, unless it points out of the archive: then the archive is not ours."""
    outside = name.startswith(("/", "\\")) or bool(PureWindowsPath(name).drive)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if outside or ".." in parts:
        raise DataError(f"{path} is refused: its member {name!r} points out of the archive")
    return name


def _bounded(path: Path, name: str, size: int, most: int) -> None:
    if size > most:
        text = f"its member {name!r} has {size} bytes, at most {most} expected"
        raise DataError(f"{path} is refused: {text}")


def tar_members(path: Path, *, most: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular member of a .tar.gz, none larger than `most` bytes."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                _safe(path, member.name)
                if member.isdir():
                    continue
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise DataError(f"{path} is refused: {member.name!r} is no regular file")
                _bounded(path, member.name, member.size, most)
                yield member.name, stream.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is truncated or corrupt: {error}") from error


def zip_members(path: Path, *, most: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of a zip, in its order, none larger than `most` bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _safe(path, info.filename)
                if info.is_dir():
                    continue
                _bounded(path, info.filename, info.file_size, most)
                yield info.filename, archive.read(info)
    except (zipfile.BadZipFile, EOFError, zlib.error, OSError, NotImplementedError) as error:
        raise DataError(f"{path} is truncated or corrupt: {error}") from error
