"""Every Python block of the documentation runs, a page's blocks in one namespace and in order.

A page may hold two kinds of HTML comments, which its readers don't see:

- `<!-- setup: ... -->`, code that runs where it stands (the reader's own model, say);
- `<!-- not run: reason -->` just before a block that is not to be run.

Inside inline code or a fence they are text, and mean nothing.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_COMMENT = r"<!--\s*(?P<kind>setup|not run):(?P<said>.*?)-->"
_FENCE = r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```"
_SPAN = r"(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)(?P=ticks)(?!`)"
_TOKEN = re.compile(f"{_COMMENT}|{_FENCE}|{_SPAN}", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


@dataclass(frozen=True)
class Block:
    """A piece of a page that is to run, at its line."""

    line: int
    code: str


def blocks(text: str) -> list[Block]:
    """The setups and Python blocks of a page, in order, less those marked `not run`."""
    found, before = [], None
    for token in _TOKEN.finditer(text):
        if token["kind"] == "setup":
            found.append(Block(_line(text, token.start("said")), token["said"]))
        elif token["language"] == "python" and not _skips(text, before, token):
            indent = len(token["indent"])
            code = "".join(line[indent:] for line in token["code"].splitlines(keepends=True))
            found.append(Block(_line(text, token.start("code")), code))
        before = token
    return found


def _skips(text: str, comment: re.Match[str] | None, fence: re.Match[str]) -> bool:
    """Whether `comment` is a `not run` that stands right before `fence`."""
    if comment is None or comment["kind"] != "not run":
        return False
    return not text[comment.end() : fence.start()].strip()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page.read_text(encoding="utf-8"))], ids=name
)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each block runs as printed; a traceback names the page and its own line in it.

    With JAX's own promotion, as a reader has it: Optax does not run under the tests' strict one.
    """
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__docs__"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks(page.read_text(encoding="utf-8")):
            padded = "\n" * (block.line - 1) + block.code
            exec(compile(padded, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_block_is_skipped_with_a_reason_only(page: Path):
    """`not run` says why, and stands before a Python block."""
    text = page.read_text(encoding="utf-8")
    tokens = list(_TOKEN.finditer(text))
    for token, after in zip(tokens, [*tokens[1:], None]):
        if token["kind"] == "not run":
            assert token["said"].strip(), f"{name(page)}: a block is not run for no reason"
            assert after is not None
            assert after["language"] == "python"
            assert _skips(text, token, after)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path):
    """Links to other files of the repository are right."""
    for target in _LINK.findall(_TOKEN.sub("", page.read_text(encoding="utf-8"))):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}"


def test_blocks_are_found_in_order_and_dedented():
    """The extraction itself: setups and fences by line, `not run` left out."""
    text = (
        "<!-- setup:\na = 1\n-->\n```python\nb = a\n```\n- item\n\n    ```python\n    c = b\n"
        "    ```\n<!-- not run: it would fetch -->\n\n```python\n1 / 0\n```\n```sh\nls\n```\n"
    )
    assert [block.code.strip() for block in blocks(text)] == ["a = 1", "b = a", "c = b"]
    assert [block.line for block in blocks(text)] == [1, 5, 10]


def test_a_comment_in_code_is_text():
    """Prose that tells of the comments, in inline code or in a fence, is no comment itself."""
    text = (
        "`<!-- setup: 1 / 0 -->` and ``<!-- not\nrun: `why` -->``\n\n```python\na = 1\n```\n"
        "```html\n<!-- setup: 1 / 0 -->\n```\na ` alone\n\n```python\nb = 1\n```\n"
    )
    assert [block.code.strip() for block in blocks(text)] == ["a = 1", "b = 1"]
