"""How a measurement is put into words: digits that the interval deserves, and what was needed."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tenfold.lab.report._records import ClaimRecord

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Measured:
    """A claim's measurement in words, ASCII only."""

    value: str
    """The judged quantity, such as `0.46 x none`."""
    interval: str
    """Its 95 % interval, or why there is none."""
    sides: str
    """The metric, and both sides that were compared, such as `nfe: R_2 41.3, none 89.7`."""
    needs: str
    """What would have made the claim hold, such as `needs < 0.67 x none`."""


def mean(values: Iterable[float]) -> float:
    """Mean of the finite values; nan when there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def plain(value: float, digits: int = 4) -> str:
    """`value` at `digits` significant digits, without a trailing zero; `-` when not finite."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.{digits}g}" if abs(value) < 10**digits or abs(value) >= 1e9 else f"{value:.0f}"


def pretty(text: str) -> str:
    """Typographic signs for a page: a real minus before numbers, and the multiplication sign."""
    text = text.replace("+-", "\N{PLUS-MINUS SIGN}")
    text = re.sub(r"(?<![\w.-])-(?=[\d.])|(?<=\de)-(?=\d)", MINUS, text)
    return re.sub(r"(?<=\d) x ", " \N{MULTIPLICATION SIGN} ", text)


def shift(record: ClaimRecord) -> float:
    """What turns d into the quantity shown: a ratio, a value beside a constant, or d itself."""
    claim = record.claim
    if claim.compare == "ratio":
        return 1.0
    return claim.against if isinstance(claim.against, float) else 0.0


def describe(record: ClaimRecord) -> Measured:
    """The measurement of a claim in words."""
    verdict, offset = record.verdict, shift(record)
    low, high = verdict.low + offset, verdict.high + offset
    digits = _decimals(low, high)
    signed = "+" if _is_difference(record) else ""
    marks = {0.0, offset - record.claim.tolerance, offset + record.claim.tolerance}
    shown = [_fixed(verdict.mean + offset, digits, signed)]
    shown += [_bound(value, digits, signed, marks) for value in (low, high)]
    seeds = len(verdict.differences)
    if math.isfinite(low) and math.isfinite(high):
        interval = f"[{shown[1]}, {shown[2]}]"
    else:
        interval = f"no interval ({seeds} seed{'s' if seeds != 1 else ''})"
    value = f"{shown[0]}{_unit(record)}" if math.isfinite(verdict.mean) else "not measured"
    return Measured(value, interval, _sides(record), _needs(record, signed))


def _is_difference(record: ClaimRecord) -> bool:
    return record.claim.compare == "difference" and isinstance(record.claim.against, str)


def _unit(record: ClaimRecord) -> str:
    """What follows the number: of what it is a multiple, or from what it differs."""
    against = _baseline(record)
    if record.claim.compare == "ratio":
        return f" x {against}"
    return f" vs {against}" if _is_difference(record) else ""


def _baseline(record: ClaimRecord) -> str:
    against = record.claim.against
    return against if isinstance(against, str) else plain(against)


def _sides(record: ClaimRecord) -> str:
    claim, arm = record.claim, plain(mean(record.values.values()))
    if isinstance(record.against, Mapping):
        other = f"{claim.against} {plain(mean(record.against.values()))}"
        return f"{claim.metric}: {claim.arm} {arm}, {other}"
    return f"{claim.metric} of {claim.arm}"


def _needs(record: ClaimRecord, signed: str) -> str:
    claim, offset = record.claim, shift(record)
    ends = [offset - claim.tolerance, offset + claim.tolerance]
    low, high = (f"{end:{signed}.4g}" if end else "0" for end in ends)
    unit = f" x {_baseline(record)}" if claim.compare == "ratio" else ""
    if claim.direction == "lower":
        return f"needs < {low}{unit}"
    if claim.direction == "higher":
        return f"needs > {high}{unit}"
    return f"needs {low} to {high}{unit}" if offset else f"needs +-{plain(claim.tolerance)}"


def _decimals(low: float, high: float) -> int | None:
    """Decimals that show two digits of the interval's half width; None: no such number."""
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return None
    decimals = 1 - math.floor(math.log10(half))
    return decimals if decimals <= 6 else None


def _fixed(value: float, decimals: int | None, signed: str) -> str:
    if decimals is None or abs(value) >= 1e7:
        return f"{value:{signed}.{3 if abs(value) < 1e-3 else 5}g}"
    rounded = round(value, decimals) + 0.0  # + 0.0: no "-0.00"
    return f"{rounded:{signed}.{max(decimals, 0)}f}"


def _bound(value: float, decimals: int | None, signed: str, marks: set[float]) -> str:
    """An end of an interval, with as many decimals more as keep it off what it is judged by."""
    if decimals is None or not math.isfinite(value):
        return _fixed(value, decimals, signed)
    for more in range(decimals, 10):
        text = _fixed(value, more, signed)
        if all(_side(float(text), mark) == _side(value, mark) for mark in marks):
            return text
    return _fixed(value, decimals, signed)


def _side(value: float, mark: float) -> int:
    """-1 below the mark, 0 on it but for rounding errors, 1 above."""
    return 0 if math.isclose(value, mark, rel_tol=1e-9, abs_tol=1e-9) else 1 if value > mark else -1


def paper_numbers(record: ClaimRecord) -> tuple[str, str] | None:
    """The paper's own number as ours is shown, and both its sides; None without a checked one."""
    if record.claim.paper is None:
        return None
    theirs, baseline = record.claim.paper
    if record.claim.compare == "ratio":
        value = plain(theirs / baseline if baseline else math.nan, 3)
    else:
        value = f"{theirs - baseline:+.4g}" if _is_difference(record) else plain(theirs)
    name = record.claim.against if isinstance(record.claim.against, str) else "reference"
    sides = f"{record.claim.arm} {plain(theirs)}, {name} {plain(baseline)}"
    return f"{value}{_unit(record)}", sides


def duration(seconds: float) -> str:
    """`seconds` as a reader says it."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
