"""Files that are whole or absent: atomic writes, and jsonl that survives a torn last line."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class FileError(RuntimeError):
    """A file can't be read or written; the message is one line that names it."""


def write_text_atomic(path: Path, text: str) -> None:
    """Writes `text` so that a reader, or a crash, sees the old file or the new one, never half.

    **Raises:** `FileError` naming the path when the disk is full or the folder not writable; the
    old file is then untouched and no temporary one is left.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide a report from its readers
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """`write_text_atomic` of `value` as JSON (strict: no NaN, floats keep every bit)."""
    write_text_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in `path`.

    **Raises:** `FileError` when it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise FileError(f"{path} is not valid JSON ({error}); restore or delete it") from error


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one line in one write, so that concurrent writers never interleave.

    A torn last line (a crash in the middle of a write) is first closed by a newline.
    """
    line = json.dumps(record).encode() + b"\n"
    try:
        with open(path, "ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a jsonl file; torn lines are skipped, a missing file is empty."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record
