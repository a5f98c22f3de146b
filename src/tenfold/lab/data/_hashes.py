"""Whether a file's content is what was published, or what the first download brought."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tenfold.lab.data._files import DataError, File, cache_folder, write_whole

BLOCK = 1 << 20
RECORD = "recorded-hashes.json"


def blocks(path: Path, file: File, *, decompress: bool = True) -> Iterator[bytes]:
    """The content of `path`, block by block and never more than `file.most` bytes.

    Raises DataError where it can't be read, is cut short, or is more than it can rightly be.
    """
    total = 0
    opener: Any = gzip.open if decompress and file.gzipped else open
    try:
        with opener(path, "rb") as stream:
            while block := stream.read(BLOCK):
                total += len(block)
                if total > file.most:
                    raise DataError(f"{path} is corrupt: more than the {file.most} bytes expected")
                yield block
    except EOFError as error:
        text = f"{path} is truncated: its gzip stream ends after {total} bytes of content"
        raise DataError(text) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is corrupt, or not gzip: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def content(path: Path, file: File) -> bytes:
    """All of it, decompressed."""
    return b"".join(blocks(path, file))


def fingerprint(path: Path, file: File) -> str:
    """Its hash: by the published algorithm, else SHA-256 of the decompressed content."""
    published = file.published
    # MD5 where the makers published nothing stronger: it finds damage, not malice.
    hasher = hashlib.new(published.algorithm if published else "sha256", usedforsecurity=False)
    head = b""
    for block in blocks(path, file, decompress=not published or published.of == "content"):
        head = head or block[: len(file.starts)]
        hasher.update(block)
    if not published and not head.startswith(file.starts):
        raise DataError(f"{path} is corrupt: it starts with {head!r}, expected {file.starts!r}")
    return hasher.hexdigest()


def verify(path: Path, file: File, recorded: str | None = None) -> tuple[str, str]:
    """The file's hash and what it proves, in words; DataError if it is not as it should be."""
    value = fingerprint(path, file)
    if file.published:
        _same(path, value, file.published.value, file.published.algorithm)
        return value, f"verified (published {file.published.algorithm})"
    if recorded is None:
        return value, "unverified (no published hash)"
    _same(path, value, recorded, "sha256", " recorded at the first download")
    return value, "unverified (recorded at first download)"


def _same(path: Path, value: str, expected: str, algorithm: str, why: str = "") -> None:
    if value != expected:
        text = f"its {algorithm} is {value}, expected {expected}{why}"
        raise DataError(f"{path} is not as it should be: {text}")


def _records() -> dict[str, dict[str, str]]:
    path = cache_folder() / RECORD
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        text = f"{path}, the hashes recorded at first downloads, cannot be read: {error}"
        raise DataError(f"{text}; mend it, or delete it to record anew") from error


def recorded(key: str) -> str | None:
    """The SHA-256 recorded for `dataset/file` at its first download, if it was."""
    entry = _records().get(key)
    return entry["sha256"] if entry else None


def record(key: str, sha256: str, url: str) -> None:
    """Records what the first download of `dataset/file` brought; raises OSError."""
    entry = {"sha256": sha256, "url": url, "date": datetime.now(UTC).date().isoformat()}
    text = json.dumps(_records() | {key: entry}, indent=1, sort_keys=True)
    write_whole(cache_folder() / RECORD, lambda stream: stream.write(text.encode()))
