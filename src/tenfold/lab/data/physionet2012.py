"""PhysioNet/CinC Challenge 2012: 48 hours of 8,000 stays in intensive care (Silva and others)."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int32

from tenfold.lab.data._archives import tar_members
from tenfold.lab.data._catalogue import file
from tenfold.lab.data._decoded import Arrays, kept
from tenfold.lab.data._files import DataError, chosen
from tenfold.lab.data._find import locate

Set = Literal["a", "b"]
STAYS = 4_000
"""Stays in each set."""
MINUTES = 48 * 60
STATIC = ("Age", "Gender", "Height", "ICUType", "Weight")
# fmt: off
PARAMETERS = (
    "ALP", "ALT", "AST", "Albumin", "BUN", "Bilirubin", "Cholesterol", "Creatinine", "DiasABP",
    "FiO2", "GCS", "Glucose", "HCO3", "HCT", "HR", "K", "Lactate", "MAP", "MechVent", "Mg",
    "NIDiasABP", "NIMAP", "NISysABP", "Na", "PaCO2", "PaO2", "Platelets", "RespRate", "SaO2",
    "SysABP", "Temp", "TroponinI", "TroponinT", "Urine", "WBC", "Weight", "pH",
)
# fmt: on
"""The 37 time series, by the names that the files use; units are the challenge's."""
_COLUMN = {name: i for i, name in enumerate(PARAMETERS)}
_STATIC = {name: i for i, name in enumerate(STATIC)}
_HEADER = "Time,Parameter,Value"
_OUTCOME = "In-hospital_death"
_RECORD_BYTES = 1 << 18  # the longest has 24 kB


@dataclass(frozen=True)
class Stays:
    """Observations of n stays at the times when anything was measured, padded to the longest."""

    times: Float32[np.ndarray, "n steps"]
    """Hours since admission, ascending, to the minute; padding repeats the last time."""
    values: Float32[np.ndarray, "n steps 37"]
    """In the order of `PARAMETERS`; 0 where the mask is False."""
    mask: Bool[np.ndarray, "n steps 37"]
    """Whether it was measured then."""
    lengths: Int32[np.ndarray, " n"]
    """How many of the times are the stay's own; 0 for the few stays without any measurement."""
    static: Float32[np.ndarray, "n 5"]
    """In the order of `STATIC`, as noted at admission; nan where missing (-1 in the files)."""
    died: Bool[np.ndarray, " n"]
    """The label, death in hospital."""
    records: Int32[np.ndarray, " n"]
    """The RecordID."""


@dataclass(frozen=True)
class Binned:
    """Stays on a regular grid, the last value in each bin."""

    values: Float32[np.ndarray, "n bins 37"]
    """0 where the mask is False."""
    mask: Bool[np.ndarray, "n bins 37"]
    static: Float32[np.ndarray, "n 5"]
    died: Bool[np.ndarray, " n"]
    records: Int32[np.ndarray, " n"]


def load(sets: Sequence[Set] = ("a", "b")) -> Stays:
    """The 4,000 stays of each set (of both: 240 MB of values), by set and RecordID.

    Values are as noted, implausible ones included, but for a weight of -1, which means missing.
    Where a parameter was noted twice in a minute, the last stands. Parsing takes seconds, once:
    the numbers are kept in the cache. Source: TENFOLD_DATA, the cache or a download from
    physionet.org (no published hash is known to us: recorded at the first). Raises DataError
    where files are absent or damaged, ValueError for another set.
    """
    if not sets:
        raise ValueError("no set was named: one or both of 'a', 'b'")
    parts = [_set(name) for name in sets]
    # Rows of a later set follow on those of an earlier one.
    starts = np.cumsum([0, *(len(part["records"]) for part in parts)])
    row = np.concatenate([part["row"] + start for part, start in zip(parts, starts)])
    joined = {k: np.concatenate([part[k] for part in parts]) for k in parts[0] if k != "row"}
    return _padded(row, **joined)


def binned(stays: Stays, *, bins: int = 48) -> Binned:
    """The stays on `bins` equal bins of their 48 hours: the last value of each in each bin.

    The very last minute, 48:00, belongs to the last bin.
    """
    row, step, column = np.nonzero(stays.mask)
    minute = np.rint(stays.times[row, step] * 60).astype(np.int64)
    cell = np.minimum(minute * bins // MINUTES, bins - 1)
    values = np.zeros((len(stays.died), bins, len(PARAMETERS)), np.float32)
    mask = np.zeros(values.shape, bool)
    # Assignment goes in the order of time, so the last value in a bin is the one that stays.
    values[row, cell, column] = stays.values[row, step, column]
    mask[row, cell, column] = True
    return Binned(values, mask, stays.static, stays.died, stays.records)


def _padded(row, minute, column, value, static, died, records) -> Stays:
    n = len(records)
    moments, which = np.unique(row.astype(np.int64) * (MINUTES + 1) + minute, return_inverse=True)
    stay, when = np.divmod(moments, MINUTES + 1)
    lengths = np.bincount(stay, minlength=n)
    step = np.arange(len(moments)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    times = np.zeros((n, int(lengths.max(initial=0))), np.float32)
    times[stay, step] = when / np.float32(60)
    times = np.maximum.accumulate(times, axis=1)
    values = np.zeros((*times.shape, len(PARAMETERS)), np.float32)
    mask = np.zeros(values.shape, bool)
    values[row, step[which], column] = value
    mask[row, step[which], column] = True
    return Stays(times, values, mask, lengths.astype(np.int32), static, died, records)


def _set(name: Set) -> Arrays:
    chosen(name, ("a", "b"), "set")
    stays = locate(*file("physionet2012", f"set-{name}.tar.gz"))
    arrays = kept("physionet2012-1", stays.digest, lambda: _parsed(stays.path))
    deaths = _deaths(locate(*file("physionet2012", f"Outcomes-{name}.txt")).path)
    missing = [record for record in arrays["records"].tolist() if record not in deaths]
    if missing or len(deaths) != STAYS:
        text = f"{len(deaths)} outcomes, {len(missing)} stays without one, expected {STAYS} and 0"
        raise DataError(f"physionet2012 set {name}: {text}")
    died = np.array([deaths[record] for record in arrays["records"].tolist()], bool)
    return {**arrays, "died": died}


def _deaths(path: Path) -> dict[int, bool]:
    head, *lines = path.read_text("utf-8", "replace").splitlines() or [""]
    columns = head.split(",")
    if columns[0] != "RecordID" or columns[-1] != _OUTCOME:
        raise DataError(f"{path} starts with {head[:80]!r}, expected RecordID, ..., {_OUTCOME}")
    deaths = {}
    for number, line in enumerate(lines, 2):
        fields = line.split(",")
        right = len(fields) == len(columns) and fields[0].isdigit()
        if not right or fields[-1] not in ("0", "1"):
            raise DataError(f"{path}, line {number}: {line[:80]!r} is no outcome")
        deaths[int(fields[0])] = fields[-1] == "1"
    return deaths


def _parsed(path: Path) -> Arrays:
    found = []
    for name, data in tar_members(path, most=_RECORD_BYTES):
        if name.endswith(".txt"):
            try:
                found.append(_stay(data.decode("ascii")))
            except ValueError as error:
                raise DataError(f"{path}: {name}: {error}") from error
    if len(found) != STAYS:
        raise DataError(f"{path} holds {len(found)} stays, expected {STAYS}")
    found.sort(key=lambda stay: stay[0])
    records, static, minutes, columns, values = zip(*found)
    return {
        "records": np.array(records, np.int32),
        "static": np.array(static, np.float32),
        "row": np.repeat(np.arange(len(found)), [len(each) for each in minutes]),
        "minute": np.concatenate([np.array(each, np.int16) for each in minutes]),
        "column": np.concatenate([np.array(each, np.int8) for each in columns]),
        "value": np.concatenate([np.array(each, np.float32) for each in values]),
    }


def _stay(text: str):
    """Record, static values, and minute, column and value of each measurement of a file."""
    head, *lines = text.splitlines() or [""]
    if head != _HEADER:
        raise ValueError(f"starts with {head[:40]!r}, expected {_HEADER!r}")
    record = -1
    static = [np.nan] * len(STATIC)
    minutes, columns, values = [], [], []
    awaited = set(STATIC)  # a second Weight is a measurement, the first one also a descriptor
    for line in lines:
        time, name, text = line.split(",")
        if name == "RecordID":
            record = int(text)
            continue
        value = float(text)
        if name in awaited:
            awaited.remove(name)
            static[_STATIC[name]] = np.nan if value == -1 else value
        if name in _COLUMN and not (name == "Weight" and value == -1):
            minutes.append(_minute(time))
            columns.append(_COLUMN[name])
            values.append(value)
        elif name not in _STATIC:
            raise ValueError(f"the parameter {name!r} is not one of the challenge's")
    if record < 0:
        raise ValueError("it has no RecordID")
    if not all(map(math.isfinite, values)):
        raise ValueError("it has a value that is not finite")
    return record, static, minutes, columns, values


@functools.cache  # a million times are parsed, of which 2,881 differ
def _minute(time: str) -> int:
    hours, minutes = time.split(":")
    total = 60 * int(hours) + int(minutes)
    if not 0 <= total <= MINUTES:
        raise ValueError(f"the time {time!r} is outside the 48 hours")
    return total
