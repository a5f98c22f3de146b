"""Matplotlib's SVG made fit for a page: own ids, the page's colours and fonts, nothing fetched."""

import re
from html import escape
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tenfold.lab.figures import GREY, GRID, INK, PALETTE

_DROPPED = {"metadata", "style", "script", "foreignObject", "title", "desc"}
_VARIABLES = {INK: "currentColor", GRID: "var(--grid)", GREY: "var(--grey)"} | {
    colour: f"var(--c{index}, {colour})" for index, colour in enumerate(PALETTE)
}
_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)
_URL = re.compile(r"url\(\s*['\"]?(#?)([^)'\"]*)['\"]?\s*\)", re.IGNORECASE)


def check_svg(text: str) -> None:
    """**Raises:** `ValueError` when `text` is no SVG drawing with a viewBox."""
    _parse(text)


def inline_svg(text: str, prefix: str, title: str) -> tuple[str, float]:
    """The drawing as an element for a page, and its natural width in CSS pixels.

    Ids and all references to them get `prefix`, so that many drawings can share a page; house
    colours become the page's CSS variables; width, height, scripts, style sheets, event handlers
    and every reference to something outside the drawing are dropped.
    """
    root, width = _parse(text)
    _clean(root, prefix)
    box = root.get("viewBox", "")
    root.attrib = {"viewBox": box, "role": "img", "aria-labelledby": f"{prefix}title"}
    heading = Element("title", id=f"{prefix}title")
    heading.text = title
    root.insert(0, heading)
    return ElementTree.tostring(root, encoding="unicode"), width


def _parse(text: str) -> tuple[Element, float]:
    if "<!ENTITY" in text:
        raise ValueError("entities are not allowed")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    box = root.get("viewBox", "").split()
    if _local(root.tag) != "svg" or len(box) != 4:
        raise ValueError("an <svg> with a viewBox was expected")
    return root, float(box[2])


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _clean(element: Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib = {
        name: _value(name, value, prefix)
        for name, value in attributes.items()
        if not name.lower().startswith("on") and not _fetches(name, value)
    }
    for child in list(element):
        if not isinstance(child.tag, str) or _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _clean(child, prefix)


def _fetches(name: str, value: str) -> bool:
    if name in ("href", "src"):
        return not value.startswith(("#", "data:image/png;base64,"))
    return any(not local for local, _ in _URL.findall(value))


def _value(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = _URL.sub(lambda match: f"url(#{prefix}{match[2]})", value)
    return _COLOUR.sub(lambda match: _VARIABLES[match[0].lower()], value)


GLYPHS = {
    "holds": "M3 8.6 6.4 12 13 4.4",
    "fails": "M4 4 12 12M12 4 4 12",
    "unclear": "M5.2 6.1a2.8 2.8 0 1 1 4.3 2.3C8.4 9.1 8 9.6 8 10.4M8 13.1v.1",
}


def glyph(outcome: str) -> str:
    """The sign of a verdict: a tick, a cross or a question mark, told apart without colour."""
    path = escape(GLYPHS[outcome])
    return f'<svg class="glyph" viewBox="0 0 16 16" aria-hidden="true"><path d="{path}"/></svg>'
