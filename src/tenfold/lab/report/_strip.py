"""A claim's measurement as a strip: seeds, mean and interval beside the zone where it holds."""

import math
from html import escape

from tenfold.lab.report._numbers import shift
from tenfold.lab.report._records import ClaimRecord

WIDTH, HEIGHT, MIDDLE, PAD = 240.0, 26.0, 13.0, 8.0


def strip(record: ClaimRecord, label: str) -> str:
    """An inline SVG with `label` as text alternative; empty when nothing finite was measured."""
    verdict, offset = record.verdict, shift(record)
    seeds = [d + offset for d in verdict.differences.values() if math.isfinite(d)]
    if not seeds:
        return ""
    zone = [end + offset for end in _zone(record)]
    marks = [*seeds, offset, verdict.low + offset, verdict.high + offset, *zone]
    finite = [mark for mark in marks if math.isfinite(mark)]
    scale = _Scale(min(finite), max(finite))
    parts = [_rect("zone", scale(zone[0]), scale(zone[1])), _line("axis", 0.0, WIDTH)]
    parts.append(_tick("none", scale(offset)))
    parts += [_tick("need", scale(end)) for end in zone if math.isfinite(end)]
    if math.isfinite(verdict.low) and math.isfinite(verdict.high):
        parts.append(_line("bar", scale(verdict.low + offset), scale(verdict.high + offset)))
    parts += [_dot("seed", scale(value), 2.6) for value in seeds]
    if math.isfinite(verdict.mean):
        parts.append(_dot("mean", scale(verdict.mean + offset), 4.5))
    return (
        f'<svg class="strip {verdict.outcome}" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _zone(record: ClaimRecord) -> tuple[float, float]:
    """Where d must lie for the claim to hold."""
    margin = record.claim.tolerance
    if record.claim.direction == "lower":
        return -math.inf, -margin
    return (margin, math.inf) if record.claim.direction == "higher" else (-margin, margin)


class _Scale:
    """Maps [low, high], with some air, to the strip's width; infinite ends to its edges."""

    def __init__(self, low: float, high: float):
        air = 0.06 * (high - low) or 1.0
        self.low, self.high = low - air, high + air

    def __call__(self, value: float) -> float:
        place = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        edge = 0.0 if math.isfinite(value) else math.copysign(PAD, value)
        return PAD + place * (WIDTH - 2 * PAD) + edge


def _rect(name: str, left: float, right: float) -> str:
    width = right - left
    return (
        f'<rect class="{name}" x="{left:.1f}" y="2" width="{width:.1f}" height="{HEIGHT - 4:.0f}"/>'
    )


def _line(name: str, left: float, right: float) -> str:
    return f'<path class="{name}" d="M{left:.1f} {MIDDLE}H{right:.1f}"/>'


def _tick(name: str, x: float) -> str:
    return f'<path class="{name}" d="M{x:.1f} 2V{HEIGHT - 2}"/>'


def _dot(name: str, x: float, radius: float) -> str:
    return f'<circle class="{name}" cx="{x:.1f}" cy="{MIDDLE}" r="{radius}"/>'
