"""The report of a fit is whole, escaped, and names the rows and columns to look at."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from pullback.tasks import FlowDensity, write_report


class Page(HTMLParser):
    """The rows of the last table of a page, its text and its images."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.rows, self.words, self.sources, self.cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag == "img":
            self.sources.append(dict(attrs)["src"])
        self.cell = tag in ("td", "th")
        if self.cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.cell = False

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())
        if self.cell:
            self.rows[-1][-1] += data


def test_the_report_names_the_planted_row_and_its_column(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(80, 2)), columns=["a", "<b>"])
    frame["patient_id"] = [f"p{k}" for k in range(80)]
    frame.loc[33, "<b>"] = 9.0
    frame.loc[5, "a"] = np.nan
    frame.to_csv(tmp_path / "a & b.csv", index=False)
    model = FlowDensity(random_state=0).fit(tmp_path / "a & b.csv")
    text = write_report(model, tmp_path / "a & b.csv", tmp_path).read_text()
    page = Page(text)
    assert "<title>a &amp; b.csv: density</title>" in text
    assert "<b>" not in text
    head, first = page.rows[0], page.rows[1]
    assert head == ["patient_id", "row", "log-density", "to blame", "a", "<b>"]
    assert first[:2] == ["p33", "35"]  # by its line: a header and rows from 0 on
    assert float(first[2].replace(",", "")) < model.offset_
    assert first[3] == "<b>"
    assert first[5] == "9"
    assert len(page.rows) == 13
    assert "p5" not in [row[0] for row in page.rows]
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    said = " ".join(page.words)
    assert "mixture of Gaussians" in said
    assert "1 of 80 rows have holes" in said
    assert f"pullback score {tmp_path} FILE --out scores.csv" in said
    assert not re.search(r'(src|href)="http', text)


def test_an_array_has_a_report_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(15, 1))
    model = FlowDensity(random_state=0).fit(x)
    page = Page(write_report(model, x, tmp_path).read_text())
    assert page.rows[0] == ["row", "log-density", "to blame", "x1"]
    assert "nothing says how good the fit is" in " ".join(page.words)
