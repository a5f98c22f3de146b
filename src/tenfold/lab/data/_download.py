"""Brings one file from its official home into the cache: whole and checked, or not at all."""

import os
import tempfile
from pathlib import Path
from typing import IO

from tenfold.lab.data._files import DataError, DataSet, File, _pooch, cache_folder
from tenfold.lab.data._hashes import RECORD, record, recorded, verify

SECONDS = 30
"""The longest silence of a server that is waited out."""


class _Bounded:
    """A writable file that refuses to grow beyond what the data can rightly be."""

    def __init__(self, stream: IO[bytes], url: str, most: int):
        self.stream, self.url, self.left = stream, url, most

    def write(self, block: bytes) -> None:
        self.left -= len(block)
        if self.left < 0:
            raise DataError(f"{self.url} sends more than the data can be")
        self.stream.write(block)

    def flush(self) -> None:
        """Left to the file's own buffer: the downloader flushes at every kilobyte."""


def _brief(error: Exception) -> str:
    import requests

    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {SECONDS} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended before the file did"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"{type(error).__name__} {str(error)[:200]}"


def _bring(url: str, path: Path, file: File) -> None:
    pooch = _pooch()
    import requests

    # Identity: a server that compresses on the way would hide the file's own gzip wrapper.
    bring = pooch.HTTPDownloader(timeout=SECONDS, headers={"Accept-Encoding": "identity"})
    try:
        with path.open("wb") as stream:
            bring(url, _Bounded(stream, url, file.most + (1 << 20)), None)
    except requests.RequestException as error:
        raise DataError(f"{url}: {_brief(error)}") from error


def _checked(dataset: DataSet, file: File, url: str, path: Path) -> None:
    key = f"{dataset.name}/{file.name}"
    known = None if file.published else recorded(key)
    try:
        value, _ = verify(path, file, known)
    except DataError as error:
        text = str(error).replace(str(path), f"{url}: what it sent")
        if known:
            text += f"; if you trust the new content, delete {key} from {cache_folder() / RECORD}"
        raise DataError(text) from error
    if not file.published and not known:
        record(key, value, url)


def _from_any(dataset: DataSet, file: File, path: Path) -> None:
    reasons = []
    for home in dataset.homes:
        try:
            _bring(home + file.name, path, file)
            return _checked(dataset, file, home + file.name, path)
        except DataError as error:
            reasons.append(str(error))
    raise DataError("; ".join(reasons))


def download(dataset: DataSet, file: File) -> Path:
    """Downloads `file` into the cache and returns its path there.

    Raises DataError, and leaves nothing, where no home serves it, where what came is not what it
    should be, and where the cache cannot be written.
    """
    target = cache_folder() / dataset.name / file.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
            part = Path(scratch) / file.name
            _from_any(dataset, file, part)
            os.replace(part, target)
    except OSError as error:
        text = f"{target} cannot be written: {error.strerror or error}"
        raise DataError(f"{text}; make room, or set TENFOLD_CACHE to another folder") from error
    return target
