"""Draws the formulas of a page as SVG when the docs are built: no script, no font, no request."""

import html
import re

from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextToPath

SIZE = 100.0
"""Units of the drawing to one em of the page."""
FONT = FontProperties(size=SIZE, math_fontfamily="stix")
_SPAN = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_SIGNS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
_SPECIAL = {r"\Big|": r"\vert", r"\bigl": "", r"\bigr": ""}
"""What Matplotlib's mathematics lacks, in what it has."""


def on_page_content(content: str, **_: object) -> str:
    """MkDocs calls this with each page's HTML, the API pages' included."""
    return _SPAN.sub(_drawn, content)


def _drawn(match: re.Match[str]) -> str:
    tag, display = match[1], match[2] == "["
    tex = html.unescape(match[3]).strip()
    class_ = "formula display" if display else "formula"
    return f'<{tag} class="{class_}">{svg(tex)}</{tag}>'


def svg(tex: str) -> str:
    """One line of TeX as an SVG element in the text's own colour.

    **Raises:** `ValueError` when Matplotlib can't typeset it; the build then stops.
    """
    line = " ".join(tex.split())
    for theirs, ours in _SPECIAL.items():
        line = line.replace(theirs, ours)
    paths = TextToPath()
    width, height, descent = paths.get_text_width_height_descent(f"${line}$", FONT, True)
    vertices, codes = paths.get_text_path(FONT, f"${line}$", True)
    d = _commands(Path(vertices, codes))
    em = [round(value / SIZE, 3) for value in (width, height, -descent)]
    return (
        f'<svg role="img" aria-label="{html.escape(tex, quote=True)}" '
        f'viewBox="0 {descent - height:.1f} {width:.1f} {height:.1f}" '
        f'style="width:{em[0]}em;height:{em[1]}em;vertical-align:{em[2]}em">'
        f'<path transform="scale(1 -1)" fill="currentColor" d="{d}"/></svg>'
    )


def _commands(path: Path) -> str:
    said = []
    for points, code in path.iter_segments(curves=True, simplify=False):
        if code == Path.CLOSEPOLY:
            said.append("Z")
        else:
            said.append(_SIGNS[code] + " ".join(f"{value:.1f}" for value in points))
    return "".join(said)
