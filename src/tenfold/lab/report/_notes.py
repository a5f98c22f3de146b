"""What is said once below a table of claims, and not in every row of it."""

from collections.abc import Sequence
from string import ascii_lowercase

from tenfold.lab.report._records import RunRecord

UNCHECKED = (
    "No number of the paper is shown, since none was checked against its tables and figures: a "
    "claim states the paper's direction, and a margin of ours."
)


def has_numbers(records: Sequence[RunRecord]) -> bool:
    """Whether any claim has numbers of its paper: otherwise a column for them would be empty."""
    return any(record.claim.paper is not None for run in records for record in run.claims)


def signs(records: Sequence[RunRecord]) -> dict[str, str]:
    """Each remark on a claim's scale, once, and the sign that refers to it: a, b, ..., aa, ..."""
    scales = dict.fromkeys(r.claim.scale for run in records for r in run.claims if r.claim.scale)
    letters = len(ascii_lowercase)
    return {
        scale: ascii_lowercase[index % letters] * (1 + index // letters)
        for index, scale in enumerate(scales)
    }


def notes(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The sign and text of each note; a note on all rows has no sign."""
    said = [(sign, f"different scale: {scale}") for scale, sign in signs(records).items()]
    if not has_numbers(records) and any(run.claims for run in records):
        said.append(("", UNCHECKED))
    return said
