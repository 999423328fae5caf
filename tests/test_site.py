"""The pages of the site: every public name and every paper has one, and a browser shows them."""

import functools
import http.server
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

import pullback as pb
from accessible import BROWSER, flaws, needs_axe
from pullback.recipes import papers

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# One of each kind of page.
LOOKED_AT = (
    "index", "gallery", "guides/anomalies", "guides/glossary", "methods/neural-ode", "api/ode",
    "choosing/adjoints", "coming-from", "benchmarks", "reproduction",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages and the menu, as they are written for Zensical."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        importlib.import_module("make_site").write(folder)
    return folder


def test_every_page_is_in_the_menu_and_leads_to_pages(site):
    pages = {str(path.relative_to(site / "pages")) for path in (site / "pages").rglob("*.md")}
    menu = json.loads((site / "mkdocs.yml").read_text().partition("nav: ")[2])
    flat = [each for entry in menu for part in entry.values()
            for each in ([part] if isinstance(part, str) else part)]  # fmt: skip
    assert sorted(flat) == sorted(pages)
    assert "guides/index.md" in pages
    assert {f"methods/{name}.md" for name in papers()} < pages
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert written < pages  # those of methods are a part of one that is made
    for page in pages:
        text = (site / "pages" / page).read_text()
        for address in re.findall(r"\]\(([^)#:\s]+)(?:#\S*)?\)", text):
            assert (site / "pages" / page).parent.joinpath(address).exists(), (page, address)


def test_every_public_name_is_documented(site, docs_script):
    pages = "".join(path.read_text() for path in (site / "pages" / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, flags=re.MULTILINE))
    passed_on = set(re.findall(r"`(\w+)`[,.]", "".join(re.findall("Passed on.*", pages))))
    of_all = [getattr(pb, each) for each in dir(pb)]
    for room in [pb.models.flows, pb.analysis.signals, *filter(inspect.ismodule, of_all)]:
        names = {f"{room.__name__}.{each}" for each in dir(room)}
        assert {each for each in names - shown if each.split(".")[-1] not in passed_on} == set()
    assert len(shown) > 900
    found = docs_script("_api_pages").addresses()
    assert found["ode.Replay"] == "pullback.ode.Replay"
    assert set(found.values()) == shown


def test_a_name_in_a_text_leads_to_its_page(docs_script):
    linked = docs_script("make_site").linked
    text = "`pb.ode.Replay`, [`pb.ode.Replay`](a), `pb.attic`\n```\n`pb.ode.Replay`\n```\n"
    assert linked(text, {"ode.Replay": "pullback.ode.Replay"}) == text.replace(
        "`pb.ode.Replay`,", "[`pb.ode.Replay`][pullback.ode.Replay],"
    )


def test_a_text_written_by_hand_is_of_a_paper_and_begins_below_its_title():
    for path in (DOCS / "methods").glob("*.md"):
        assert path.stem in papers()
        assert path.read_text().startswith("## ")


def test_the_glossary_has_each_word_once_and_those_of_reports(site):
    page = (site / "pages" / "guides" / "glossary.md").read_text()
    own, _, of_reports = page.partition("## Words of reports")
    words, theirs = (
        re.findall(r"^\| (?!word|-)(.+?) \|", part, flags=re.M) for part in (own, of_reports)
    )
    assert {"ELBO", "NFE", "vjp", "hypergradient", "adjoint"} < set(words)
    assert {"nat", "Brier score", "ECE"} < set(theirs)
    assert words == sorted(words, key=str.lower)
    assert len({*words, *theirs}) == len(words) + len(theirs)
    linking = [path for path in DOCS.rglob("*.md") if "glossary.md" in path.read_text()]
    assert len(linking) >= 4


def _run(folder, value):
    """A run with one picture."""
    from PIL import Image

    folder.mkdir()
    claim = {
        "sentence": "It is so", "value": value, "spread": None, "seeds": 1, "unit": "", "bound": "",
        "reference": "", "holds": True, "at_least": None, "at_most": 9.0, "headline": None,
    }  # fmt: skip
    record = json.loads((ROOT / "results" / "relax.json").read_text()) | {"claims": [claim]}
    (folder / "claims.json").write_text(json.dumps(record))
    figure = {"kind": "figure", "file": "figures/a.png", "caption": "A is so", "alt": ""}
    (folder / "contents.json").write_text(json.dumps([{"kind": "table"}, figure]))
    (folder / "figures").mkdir()
    Image.new("RGB", (1800, 900), "white").save(folder / "figures" / "a.png")
    return folder


def test_a_picture_is_kept_of_a_run_that_is_recorded(docs_script, tmp_path, capsys):
    from PIL import Image

    keep = docs_script("keep_picture").main
    (tmp_path / "results").mkdir()
    run = _run(tmp_path / "run", 1.5)
    places = ["--results", str(tmp_path / "results"), "--images", str(tmp_path / "images")]
    assert keep([str(run), *places]) == 2
    assert "record it first" in capsys.readouterr().err
    shutil.copy(run / "claims.json", tmp_path / "results" / "spoons.json")
    assert keep([str(run), "--figure", "b.png", *places]) == 2
    assert "drew no b.png; it drew a.png" in capsys.readouterr().err
    assert keep([str(run), *places]) == 0
    with Image.open(tmp_path / "images" / "spoons.png") as kept:
        assert kept.width == 900
        assert kept.info["Caption"] == kept.info["Alt"] == "A is so"


# Run in every page before its own scripts, and again when it stands.
LISTEN = b"<script>errors = []; addEventListener('error', e => errors.push(e.message));</script>"
LOOK = """<body style="margin: 0"><script>
const look = (address, width) => new Promise(done => {
  const frame = document.createElement("iframe");
  Object.assign(frame, {src: address, width, height: 900, style: "border: 0"});
  frame.onload = () => setTimeout(() => {
    const page = frame.contentDocument, all = what => [...page.querySelectorAll(what)];
    done({
      address, width, errors: frame.contentWindow.errors,
      wide: page.documentElement.scrollWidth,
      headings: all("article h1").length,
      ids: all("[id]").map(each => each.id),
      links: all("article a[href]").map(each => each.getAttribute("href")),
      blind: all("article img").filter(each => !each.alt).map(each => each.src),
      lost: all("article img").filter(each => each.complete && !each.naturalWidth).length,
      equations: all(".arithmatex").length,
      unset: all(".arithmatex").filter(each => !each.querySelector(".katex-html"))
        .map(each => each.textContent),
      foreign: frame.contentWindow.performance.getEntriesByType("resource")
        .map(each => each.name).filter(each => !each.startsWith(location.origin)),
    });
    frame.remove();
  }, 100);
  document.body.append(frame);
});
(async () => {
  for (const width of [1200, 420]) for (const address of ADDRESSES) {
    const found = await look(address, width);
    await fetch("/found", {method: "POST", body: JSON.stringify(found)});
  }
  await fetch("/found", {method: "POST", body: "null"});
})();
</script>"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The built site, with an ear in each page, and what the browser tells of it."""

    def do_GET(self):
        path = Path(self.directory, unquote(self.path).partition("?")[0].lstrip("/"))
        if self.path == "/look":
            names = [f"/{each}" for each in self.server.pages]
            self._answer(LOOK.replace("ADDRESSES", json.dumps(names)).encode())
        elif path.suffix == ".html" and path.exists():
            self._answer(path.read_bytes().replace(b"<head>", b"<head>" + LISTEN, 1))
        else:
            super().do_GET()

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if told is None:
            self.server.done.set()
        else:
            self.server.found.append(told)
        self._answer(b"")

    def log_message(self, *_):
        pass

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site as `make docs` builds it."""
    if find_spec("zensical") is None:
        pytest.skip("the extra `docs` is not installed")
    copy = tmp_path_factory.mktemp("project")
    for name in ("mkdocs.yml", "docs", "src"):
        (copy / name).symlink_to(ROOT / name)
    words = [sys.executable, ROOT / "docs" / "make_site.py", "--out", copy / "site"]
    subprocess.run(words, check=True)
    words = [sys.executable, "-m", "zensical", "build", "--strict"]
    words += ["--config-file", copy / "site" / "mkdocs.yml"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "site" / "html"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_every_page(built, tmp_path):
    """No page is wider than its window, asks another host, or has a script that fails."""
    pages = sorted(str(path.relative_to(built)) for path in built.rglob("*.html"))
    handler = functools.partial(_Handler, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.pages, server.found, server.done = pages, [], threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += [f"--user-data-dir={tmp_path}", f"http://127.0.0.1:{server.server_port}/look"]
        browser = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        try:
            assert server.done.wait(timeout=900), f"{len(server.found)} pages were looked at"
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
    wrong = [flaw for page in server.found for flaw in _flaws(page, server.found)]
    assert len(server.found) == 2 * len(pages)
    assert sum(page["equations"] for page in server.found) > 500
    assert not wrong, "\n".join(map(str, wrong))


def _flaws(page, found):
    """What is wrong with a page, each with where it was seen."""
    ids = {each["address"]: set(each["ids"]) for each in found}
    seen = {
        "errors": page["errors"], "no alt": page["blind"], "not set": page["unset"],
        "from elsewhere": page["foreign"], "dead": [],
        "wide": [page["wide"]] if page["wide"] > page["width"] else [],
        "lost pictures": [page["lost"]] if page["lost"] else [],
        "headings": [page["headings"]] if page["headings"] != 1 else [],
    }  # fmt: skip
    for link in page["links"]:
        address, anchor = urldefrag(urljoin(page["address"], link))
        if "://" not in address and not address.startswith("mailto:"):
            there = ids.get(unquote(address))
            if there is None or (anchor and unquote(anchor) not in there):
                seen["dead"].append(link)
    return [(page["address"], page["width"], what, each) for what, all_ in seen.items()
            for each in all_]  # fmt: skip


@pytest.mark.slow
@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_pages_can_be_read_by_all(built, dark):
    """Of axe-core's rules two are not ours to keep: the theme names its menus twice, and a corner
    of a table, a flaw called minor, may stay empty."""
    wrong = [
        (page, *flaw)
        for page in LOOKED_AT
        for flaw in flaws(built / f"{page}.html", dark)
        if flaw[0] not in {"landmark-unique", "empty-table-header"}
    ]
    assert not wrong, "\n".join(map(str, wrong))
