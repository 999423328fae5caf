"""Pages are whole, escaped, and need no other file."""

import base64
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pytest

from accessible import flaws, needs_axe
from pullback._archive import write_archive
from pullback.plots import figure
from pullback.runs import Context, read_record, write_gallery, write_page

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would make of a page: its tags, its text, and its links."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.words = ""
        self.stack: list[str] = []
        self.feed(path.read_text())
        self.close()
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.words += data

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def evil(field):
    return f'<script>alert("{field}")</script>&amp;\'</style>-->'


def claim(holds, **fields):
    plain = {
        "sentence": "Something is so",
        "value": 1.5,
        "spread": 0.25,
        "seeds": 3,
        "unit": "nats",
    }
    plain |= {"bound": "<= 2", "reference": "the paper", "holds": holds}
    return plain | {"at_least": None, "at_most": 2.0, "headline": None} | fields


@pytest.fixture
def make_run(tmp_path):
    def make_run(name="run", claims=None, **fields):
        folder = tmp_path / name
        context = Context(folder)
        fig, ax = figure(width=1, height=1)
        ax.plot([0, 1])
        context.figure("first", fig, "The first figure.", alt="A line that rises.")
        context.table("t", ["what", "how many"], [["spoons", 12345], ["forks", None]], "Cutlery.")
        context.note("A note.")
        record = {
            "recipe": "spoons", "title": "On Spoons", "arxiv": "1234.56789", "summary": "Counts.",
            "preset": "desk", "seed": 7, "config": {"width": 3}, "changed": [],
            "claims": [claim(True)] if claims is None else claims,
            "versions": {"jax": "9.9.9"}, "machine": {"cpu": "abacus", "cores": 2},
            "sources": "0" * 16, "commit": None, "wall_seconds": 75.2, "legs": [75.2],
            "finished": "2026-01-02 03:04 UTC",
        }  # fmt: skip
        (folder / "contents.json").write_text(json.dumps(context.contents))
        (folder / "claims.json").write_text(json.dumps(record | fields))
        identity = {name: record[name] for name in ("recipe", "preset", "config")}
        identity |= {"seed": 7, "data": None, "with": {}, "code": "0.1.0+0123456789ab"}
        (folder / "config.json").write_text(json.dumps(identity))
        return folder

    return make_run


def test_everything_a_stranger_asks_is_on_the_page_and_the_claims_come_first(make_run):
    page = Page(write_page(make_run(claims=[claim(True), claim(False, sentence="Other")])))
    order = [
        "On Spoons", "arXiv 1234.56789", "desk", "1 min 15 s", "1 of 2 held",
        "✓ held", "Something is so", "1.50 ± 0.25 nats", "3 seeds", "≤ 2", "the paper",
        "✗ FAILED", "Other",
        "The first figure.", "Cutlery.", "12,345", "–", "A note.",
        "width", "abacus", "9.9.9",
    ]  # fmt: skip
    at = 0
    for words in order:
        assert words in page.words[at:], words
        at = page.words.index(words, at)
    assert page.attributes("alt") == ["A line that rises."]
    assert page.attributes("href") == ["https://arxiv.org/abs/1234.56789"]


def test_the_page_carries_its_pictures(make_run):
    folder = make_run()
    page = Page(write_page(folder))
    [source] = page.attributes("src")
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data, validate=True) == (folder / "figures" / "first.png").read_bytes()
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "url(" not in (folder / "report.html").read_text()


def test_every_field_is_escaped(make_run):
    texts = ("recipe", "title", "arxiv", "summary", "preset", "finished")
    parts = ("sentence", "unit", "bound", "reference")
    folder = make_run(
        **{name: evil(name) for name in texts},
        claims=[claim(True, **{name: evil(name) for name in parts})],
        config={evil("key"): evil("value")},
        changed=[evil("key")],
        versions={evil("package"): evil("version")},
        machine={evil("part"): evil("model")},
    )
    contents = json.loads((folder / "contents.json").read_text())
    contents[0] |= {"caption": evil("caption"), "alt": evil("alt")}
    contents[1] |= {
        "header": [evil("header")], "rows": [[evil("cell")]], "caption": evil("table"),
    }  # fmt: skip
    contents[2] |= {"text": evil("note")}
    (folder / "contents.json").write_text(json.dumps(contents))

    page = Page(write_page(folder))
    assert "script" not in {tag for tag, _ in page.tags}
    shown = {*texts, *parts, "key", "value", "package", "version", "part", "model"}
    shown = (shown - {"bound"}) | {"caption", "header", "cell", "table", "note"}
    for name in shown:
        assert evil(name) in page.words, name
    assert page.attributes("alt") == [evil("alt")]
    assert unquote(page.attributes("href")[0]) == "https://arxiv.org/abs/" + evil("arxiv")
    # Only these attributes may carry what comes from outside.
    for tag, attrs in page.tags:
        assert set(attrs) <= {
            "lang", "charset", "name", "content", "class", "href", "src", "alt", "data-label",
        }, tag  # fmt: skip


def test_a_claim_that_is_no_number_is_shown(make_run):
    page = Page(write_page(make_run(claims=[claim(False, value="nan", spread=None, seeds=1)])))
    assert "nan nats" in page.words
    assert "✗ FAILED" in page.words


def test_a_run_without_claims_or_figures_has_a_page(make_run):
    folder = make_run(claims=[])
    (folder / "contents.json").write_text("[]")
    assert "makes no claim" in Page(write_page(folder)).words


def test_what_was_changed_and_resumed_is_said(make_run):
    page = Page(write_page(make_run(changed=["width"], legs=[70, 5.2])))
    assert "with width = 3" in page.words
    assert "took 1 min 15 s in 2 legs" in page.words


def test_no_run_and_damaged_runs_are_named(make_run, tmp_path):
    with pytest.raises(ValueError, match=r"no finished run here: .*nowhere"):
        write_page(tmp_path / "nowhere")
    folder = make_run()
    (folder / "claims.json").write_text('{"recipe": ')
    with pytest.raises(ValueError, match=r"claims\.json is damaged"):
        write_page(folder)
    (folder / "claims.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"damaged: the record is a list"):
        read_record(folder)


def test_the_gallery_counts_claims_and_its_links_lead_somewhere(make_run, tmp_path):
    write_page(make_run("spoons/desk 1#%/x", claims=[claim(True), claim(False)]))
    write_page(make_run("forks", claims=[claim(True)], title=evil("title")))
    (make_run("stopped") / "claims.json").unlink()
    for out in (None, tmp_path / "elsewhere" / "deep" / "index.html"):
        path = write_gallery(tmp_path, out)
        page = Page(path)
        assert "✓ 1 of 1 held" in page.words
        assert "✗ 1 of 2 FAILED" in page.words
        assert evil("title") in page.words
        assert "script" not in {tag for tag, _ in page.tags}
        links = page.attributes("href") + page.attributes("src")
        assert len(links) == 4
        for link in links:
            assert (path.parent / unquote(urlsplit(link).path)).is_file(), link
        assert page.words.index("Not finished") < page.words.index("stopped")


def test_the_gallery_shows_fits_apart(make_run, tmp_path):
    """A fit with its report, one without, and a paper's run."""
    for name in ("with report", "without"):
        record = {"task": "FlowDensity", "fitted": {"data_": {"source": evil("my.csv")}}}
        write_archive(tmp_path / name / "model.safetensors", record, {})
    (tmp_path / "other").mkdir()
    for name in ("model.json", "model.safetensors"):  # another program's
        (tmp_path / "other" / name).write_text('{"task": 3}')
    (tmp_path / "with report" / "report.html").write_text("")
    page = Page(write_gallery(tmp_path))
    assert "Papers" not in page.words
    assert page.words.count(evil("my.csv")) == 2
    assert page.attributes("href") == ["with%20report/report.html"]
    write_page(make_run("forks", claims=[claim(True)]))
    page = Page(write_gallery(tmp_path))
    assert page.words.index("Fits of your own data") < page.words.index("Papers")
    write_archive(tmp_path / "without" / "model.safetensors", {"task": "FlowDensity"}, {})
    with pytest.raises(ValueError, match=r"without.model\.safetensors is of another version"):
        write_gallery(tmp_path)


def test_names_that_are_no_text_stand_on_pages(make_run, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_page(make_run(f"{name}/forks", title=f"On {name}"))
    record = {"task": "FlowDensity", "fitted": {"data_": {"source": f"{name}.csv"}}}
    write_archive(tmp_path / name / "fit" / "model.safetensors", record, {})
    (tmp_path / name / "fit" / "report.html").write_text("")
    (make_run(f"{name}/stopped") / "claims.json").unlink()
    page = Page(write_gallery(tmp_path))
    for words in ("On caf?", "caf?.csv", "caf?/stopped"):
        assert words in page.words
    links = page.attributes("href") + page.attributes("src")
    assert len(links) == 3
    for link in links:
        assert os.path.isfile(tmp_path / os.fsdecode(unquote_to_bytes(urlsplit(link).path)))


def test_a_gallery_of_nothing_says_how_to_make_a_run(tmp_path):
    with pytest.raises(ValueError, match="pullback run NAME"):
        write_gallery(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_the_pages_can_be_read_by_all(make_run, tmp_path, dark):
    run = make_run(claims=[claim(True), claim(False)], changed=["width"], preset="smoke")
    page = write_page(run)
    assert flaws(page, dark) == []
    assert flaws(write_gallery(tmp_path), dark) == []
