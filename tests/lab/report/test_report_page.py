import math
import re
from html.parser import HTMLParser

import pytest
from fake_runs import CLAIMS, claim, judged, units, write_run

from tenfold.lab import report

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """All elements of a page; complains when they are not nested as they should be."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, name):
        return [attrs for tag, attrs in self.elements if tag == name]


@pytest.fixture
def runs(tmp_path):
    """The same run twice (so that figures and ids could clash) and one cut short."""
    some = units()
    some["none-1"] |= {"state": "failed", "error": "loss is not finite"}
    some["kinetic-2"] |= {"state": "pending", "seconds": None}
    paths = [
        write_run(tmp_path),
        write_run(tmp_path, preset="paper"),
        write_run(tmp_path, hash="cut", status={"state": "interrupted", "units": some}),
    ]
    return [report.read_run(path) for path in paths]


def test_nothing_is_requested_and_nothing_runs(runs):
    text = report.html(runs)
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "video", "audio", "base"}
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            place = attrs.get(name, "")
            arxiv = tag == "a" and place.startswith("https://arxiv.org/abs/")
            assert arxiv or not place or place.startswith(("#", "data:,")), (tag, name, place)
    assert all(inner.startswith("#") for inner in re.findall(r"url\(\s*['\"]?([^)]*)", text))
    assert "@import" not in text
    assert ("link", {"rel": "icon", "href": "data:,"}) in page.elements


def test_ids_are_unique_and_all_references_lead_somewhere(runs):
    text = report.html(runs)
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for _, attrs in page.elements if attrs.get("href", "").startswith("#")}
    used = {f"#{one}" for _, a in page.elements for one in a.get("aria-labelledby", "").split()}
    clips = {f"#{one}" for one in re.findall(r"url\(#([^)]*)\)", text)}
    assert clips
    assert links | used | clips <= {f"#{one}" for one in ids}


def test_the_page_says_all_that_a_reader_needs(runs):
    text = Page(report.html(runs[:1])).text
    for record in CLAIMS:
        for said in (record["says"], record["id"], record["where"], record["sabotage"]):
            assert said in text
    for said in (
        "Learning Differential Equations that are Easy to Solve",
        "arXiv:2007.04504",
        "4 claims of 1 paper",
        "2026-11-24",
        "0.463 × none",
        "[0.382, 0.543]",
        "needs < 0.67 × none",
        "nfe: R_2 41, none 88.67",
        "R_2 95, none 183",
        "a different scale: a synthetic 2-D density instead of MINIBOONE",
        "not checked",
        "tenfold run taylor small",
        "1,797 real 8x8 digits",
        "Xeon",
        "0.10.2",
        "23 GB",
        "abc1234",
        "9 of 9",
        "40 s",
        "kinetic-energy regularisation (RNODE)",
        "one point a weight of the penalty",
        "0.0909091",
    ):
        assert said in text, said


def test_without_numbers_of_the_paper_there_is_no_column_for_them_but_a_note(tmp_path):
    some = judged(claim(), [41.0, 44.0, 38.0], [92.0, 88.0, 86.0])
    page = Page(report.html([report.read_run(write_run(tmp_path, claims=[some]))]))
    assert "Claim Measured here Verdict" in page.text
    assert "No number of the paper is shown" in page.text


def test_the_page_names_no_path_and_no_host(runs, tmp_path):
    text = report.html(runs)
    assert str(tmp_path) not in text
    assert "1a2b3c4d" not in text


def test_all_claims_of_all_runs_stand_in_the_overview(runs):
    page = report.html(runs)
    overview = page[page.index('class="overview"') : page.index('class="study"')]
    assert overview.count('role="rowheader"') == sum(len(run.claims) for run in runs)
    assert "12 claims of 1 paper" in Page(page).text


def test_what_is_unfinished_is_said_on_top_and_in_its_section(runs):
    text = Page(report.html(runs)).text
    assert text.count("The run was interrupted: 7 of 9 units are finished.") == 2
    assert text.count("Failed: none, seed 1 (loss is not finite).") == 2
    assert text.count("Not begun: kinetic, seed 2.") == 2


def test_tables_and_pictures_can_be_read_aloud(runs):
    page = Page(report.html(runs))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in attrs for attrs in page.all("th"))
    assert len(page.all("h1")) == 1
    for attrs in page.all("svg"):
        named = "aria-label" in attrs or "aria-labelledby" in attrs
        assert attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and named)
        assert "viewbox" in attrs
        assert not {"width", "height"} & set(attrs)


def test_figures_take_the_pages_colours(runs):
    text = report.html(runs[:1])
    drawing = text[text.index("<figure>") : text.index("</figure>")]
    assert "currentColor" in drawing
    assert "var(--c0, #0072b2)" in drawing
    assert "<style" not in drawing
    assert "#24262b" not in drawing


HOSTILE = "<script>alert(1)</script>\"'&<!--"


def test_hostile_text_is_shown_and_not_obeyed(tmp_path):
    nasty = claim(
        **dict.fromkeys(("says", "where", "metric", "arm", "against", "scale"), HOSTILE),
        sabotage=HOSTILE,
    )
    some = units()
    some["none-1"] |= {"state": "failed", "error": HOSTILE, "arm": HOSTILE}
    environment = {"machine": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    path = write_run(
        tmp_path,
        claims=[judged(nasty, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])],
        differences=[HOSTILE],
        caption=HOSTILE,
        paper=dict.fromkeys(("package", "title", "arxiv", "headline"), HOSTILE),
        status={"state": HOSTILE, "units": some},
        config={
            "command": HOSTILE,
            "config": {HOSTILE: HOSTILE},
            "environment": environment,
            "git": HOSTILE,
            "created": HOSTILE,
            "preset": HOSTILE,
            "study": HOSTILE,
        },
    )
    run = report.read_run(path)
    page = Page(report.html([run, run]))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count("<script>alert(1)</script>") > 15


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<image href="https://example.org/x.png"/>',
        '<image href="data:text/html,x"/>',
        '<rect onclick="alert(1)"/>',
        '<rect style="fill: url(https://example.org/x)"/>',
        "<rect style=\"fill: url( '//example.org/x' )\"/>",
        "<style>@import 'https://example.org/x.css';</style>",
        "<foreignObject><p>x</p></foreignObject>",
        '<a href="javascript:alert(1)"><rect/></a>',
    ],
)
def test_a_drawing_brings_nothing_from_outside(tmp_path, inside):
    path = write_run(tmp_path)
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{inside}</svg>'
    (path / "figures" / "bars.svg").write_text(drawing)
    text = report.html([report.read_run(path)])
    assert not re.search(r"example\.org|alert|data:text|@import|<p>x", text)


def test_intervals_that_are_infinite_or_missing_are_put_in_words(tmp_path):
    claims = [
        judged(claim("taylor/one"), [1.0], [2.0]),
        judged(claim("taylor/none"), [], []),
        judged(claim("taylor/nan"), [math.nan, 1.0, 1.0], [2.0, 2.0, 2.0]),
    ]
    text = Page(report.html([report.read_run(write_run(tmp_path, claims=claims))])).text
    assert "0.5 × none no interval (1 seed)" in text
    assert "not measured no interval (0 seeds)" in text
    assert "a measured value is not finite" in text
    assert not re.search(r"\b(nan|inf)\b", text.replace("taylor/nan", ""))


def test_a_run_without_claims_or_figures_still_makes_a_page(tmp_path):
    path = write_run(tmp_path, figures=False, status={"state": "running"})
    (path / "claims.json").unlink()
    assert "No claim has been judged yet." in Page(report.html([report.read_run(path)])).text


def test_no_run_at_all_makes_an_empty_page():
    assert "0 claims of 0 papers" in Page(report.html([])).text


def test_a_sabotaged_run_is_labelled_and_not_counted(tmp_path, runs):
    holds = judged(claim(), [1.0, 1.1, 1.2], [4.0, 4.0, 4.0])
    path = write_run(tmp_path, hash="ff", config={"sabotage": "penalty-off"}, claims=[holds])
    text = Page(report.html([*runs[:1], report.read_run(path)])).text
    assert "4 claims of 1 paper" in text
    assert "0 of 1 negative controls failed" in text
    assert "but it must fail: the control did not fire" in text


def test_long_tables_of_drawn_numbers_are_cut_and_say_so(tmp_path):
    path = write_run(tmp_path)
    rows = "\n".join(str(index) for index in range(1000))
    (path / "figures" / "bars.csv").write_text(f"x\n{rows}\n")
    text = Page(report.html([report.read_run(path)])).text
    assert "800 more rows are in figures/bars.csv." in text


def test_the_page_is_a_function_of_its_records_and_is_written_whole(runs, tmp_path):
    report.write(runs, tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == report.html(runs)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["report.html"]
