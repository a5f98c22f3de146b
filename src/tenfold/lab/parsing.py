"""From words typed to options: tyro reads them, errors become one line with the nearest name."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import tyro

from tenfold.lab.registry import UnknownName

T = TypeVar("T")


class UsageError(ValueError):
    """What was typed can't be understood; the message is one line."""


def read(kind: type[T], arguments: list[str], *, verb: str, default: Any = None) -> T:
    """`arguments` as a value of the dataclass `kind`.

    **Raises:** `UnknownName` for an unknown option, `UsageError` for an unusable value.
    """
    known = [f"--{name.replace('_', '-')}" for name in _names(kind)] + ["--help", "-h"]
    for argument in arguments:
        name = argument.split("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known and not _negated(name, known):
            raise UnknownName(f"option of {verb}", argument.split("=")[0], known)
    printed = io.StringIO()
    helping = any(argument in ("-h", "--help") for argument in arguments)
    quiet = contextlib.nullcontext() if helping else contextlib.redirect_stderr(printed)
    extra = {} if default is None else {"default": default}
    try:
        with quiet:
            flat: Any = tyro.conf.OmitArgPrefixes[kind]  # pyright: ignore
            return tyro.cli(flat, args=arguments, prog=f"tenfold {verb}", **extra)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{verb}: {_first_sentence(printed.getvalue())}") from None


def _names(kind: type) -> Iterable[str]:
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            yield from _names(field.type)  # pyright: ignore[reportArgumentType]
        else:
            yield field.name


def _negated(name: str, known: list[str]) -> bool:
    return name.startswith("--no-") and "--" + name[5:] in known


def _first_sentence(box: str) -> str:
    """What is wrong, from a complaint of tyro: a title, then paragraphs between lines.

    On a terminal without UTF-8 the title is a paragraph too, else it stands in the frame.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ") for line in text.splitlines() if not line.startswith(("╭", "╰"))]
    ruled = "\n".join("" if not line.strip("─-") else line for line in lines)
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n{2,}", ruled.strip("\n"))]
    named = paragraphs[1:] if not text.lstrip("\n").startswith("╭") else paragraphs
    return (named or paragraphs)[0] or "the options can't be understood; try --help"
