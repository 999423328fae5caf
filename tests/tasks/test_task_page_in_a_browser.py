"""The report of a fit as a browser shows it: nothing sticks out, links lead on, tables sort."""

import json
import re
import subprocess
from html import unescape

import numpy as np
import pandas as pd
import pytest

from accessible import BROWSER, flaws, needs_axe
from pullback.tasks import FlowDensity, TableGAN, write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
]

# What the page is asked, once it stands; errors are listened to from the start.
LISTEN = "<script>errors = []; addEventListener('error', e => errors.push(e.message));</script>"
ASK = """<script>
const table = [...document.querySelectorAll("table")].pop();
const column = () => [...table.tBodies[0].rows].map(row => row.cells[row.cells.length - 1]);
const cells = () => column().map(cell => Number(cell.dataset.value));
const button = table.tHead.rows[0].cells[column()[0].cellIndex].querySelector("button");
const before = cells();
button.click();
const up = cells();
button.click();
parent.postMessage(JSON.stringify({
  errors, before, up, down: cells(),
  width: document.documentElement.scrollWidth, window: innerWidth,
  links: [...document.links].map(link => link.getAttribute("href")),
}), "*");
</script>"""
# A window is never narrower than 500; a frame is.
FRAME = """<body style="margin: 0"><script>
addEventListener("message", event => document.body.dataset.found = event.data);
</script><iframe src="asked.html" width="%d" height="900" style="border: 0"></iframe></body>"""


@pytest.fixture(scope="module", params=[FlowDensity, TableGAN])
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    random = np.random.default_rng(0)
    names = ["a", "a name as long as some people make them, with its unit [kg]", *"cdefgh"]
    frame = pd.DataFrame(random.normal(size=(60, 8)), columns=names)
    model = request.param(random_state=0, max_steps=0).fit(frame)
    model.save(folder)
    return write_report(model, frame, folder)


@pytest.mark.parametrize("width", [1200, 420])
def test_the_page_fits_its_links_lead_on_and_its_tables_sort(page, width):
    text = page.read_text().replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{ASK}</body>")
    page.with_name("asked.html").write_text(text)
    frame = page.with_name("frame.html")
    frame.write_text(FRAME % width)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr
    told = json.loads(unescape(found[1]))
    assert told["errors"] == []
    assert told["window"] == width
    assert told["width"] <= width
    assert told["links"]
    assert all(page.with_name(link).is_file() for link in told["links"])
    assert told["up"] == sorted(told["before"]) != told["before"]
    assert told["down"] == sorted(told["before"], reverse=True)


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_can_be_read_by_all(page, dark):
    assert flaws(page, dark) == []
