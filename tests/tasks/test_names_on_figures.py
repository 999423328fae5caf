"""Names of columns, classes and series are drawn as they are: none is a formula or a command."""

import ast
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg

import pullback
from pullback import data, tasks
from pullback.plots import figure, house_style
from pullback.tasks._page import Picture
from pullback.tasks._png import png

NAMES = ("a$^$b", "US$ vs A$", r"$\frac{1$", "_x", "50 %_{", r"\alpha\\", "a^2 & #~", "体重")


@pytest.fixture
def drawn(monkeypatch):
    """Each text that was drawn as it is; a formula is an error."""
    texts = []

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        assert not ismath, f"{s!r} is a formula"
        texts.append(s)
        return plain(self, gc, x, y, s, prop, angle, ismath, mtext)

    plain = RendererAgg.draw_text
    monkeypatch.setattr(RendererAgg, "draw_text", draw_text)
    return texts


@pytest.fixture
def look(drawn):
    def look(model, given):
        """What stands in the pictures of a page, each of which can be drawn."""
        for part in model._report(given).parts:
            if isinstance(part, Picture):
                assert part.source.startswith("data:image/png;base64,iVBOR")
        assert not [text for text in drawn if "mathdefault" in text]
        return set(drawn)

    return look


OF_THE_USER = {"text.usetex": True, "axes.formatter.use_mathtext": True}


@pytest.mark.parametrize("settings", [{}, OF_THE_USER], ids=["plain", "tex"])
def test_a_name_is_drawn_as_it_is_wherever_it_stands(settings, drawn):
    with matplotlib.rc_context(settings):
        with house_style(math=False):
            fig, axes = figure(2, 4, width=16)
            for ax, name in zip(axes.ravel(), NAMES, strict=True):
                ax.plot([1, 3e9], [0, 1], label=f"of {name}")
                ax.set(xlabel=name, ylabel=name, title=name)
                ax.set_yticks([0, 1], [name, "x" * 2000])
                ax.legend()
            axes[0, 0].set_xscale("log")
            axes[0, 0].xaxis.set_major_formatter("{x:g}")
            fig.suptitle("y" * 130_000 + "\nz")
        assert png(fig).startswith(b"\x89PNG")
    for name in NAMES:
        assert (drawn.count(name), drawn.count(f"of {name}")) == (4, 1)
    assert {"x" * 47 + "...", "y" * 47 + "...", "1e9"} <= set(drawn)


def test_every_figure_of_a_task_is_drawn_and_saved_where_names_are_no_formulas():
    """And none has a scale of powers of ten, whose ticks are formulas, without ticks of its own."""
    for path in (Path(pullback.__file__).parent / "tasks").glob("*.py"):
        tree = ast.parse(path.read_text())
        plain = [
            inner
            for each in ast.walk(tree)
            if isinstance(each, ast.With)
            and any(ast.unparse(item) == "house_style(math=False)" for item in each.items)
            for inner in ast.walk(each)
        ]
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func).split(".")[-1]
            if name in ("figure", "Figure") and not ast.unparse(call.func).startswith("self."):
                assert call in plain or ast.unparse(call.func).endswith(".figure"), path
            assert name != "savefig" or path.name == "_png.py", path
            assert name != "house_style" or ast.unparse(call) == "house_style(math=False)", path
        text = path.read_text()
        logs = len(re.findall(r'set_[xy]?scale\("log"\)|loglog|semilog', text))
        assert logs == len(re.findall(r"set_major_formatter|set_xticks\(ks, ", text)), path


def table(names, rows=40):
    x = np.random.default_rng(0).normal(size=(rows, len(names))).round(3)
    quoted = ",".join(f'"{name}"' for name in names)
    return "\n".join([quoted, *(",".join(map(str, row)) for row in x.tolist())]) + "\n"


def test_columns_of_a_density(look, tmp_path):
    (tmp_path / "my.csv").write_text(table(NAMES[:5]))
    model = tasks.FlowDensity(max_steps=0, random_state=0).fit(tmp_path / "my.csv")
    assert set(NAMES[:5]) <= look(model, tmp_path / "my.csv")


def test_columns_and_series_of_trajectories(look, tmp_path):
    times = np.arange(12.0)
    names = ("US$ vs A$", "a$^$b", r"$\frac{1$", "50 %_{")
    lines = [
        f"{t},{np.exp(-t / 9 - k):.5f},{np.sin(t / 3 + k):.5f},$^{k}"
        for k in range(3)
        for t in times
    ]
    (tmp_path / "t.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
    model = tasks.DynamicsModel(max_steps=0, time=names[0], series=names[3], random_state=0)
    model.fit(tmp_path / "t.csv")
    assert {*names[:3], "$^0"} <= look(model, tmp_path / "t.csv")


def test_variables_of_series(look, tmp_path):
    random = np.random.default_rng(0)
    cells = [(f"$^{k}", t + k / 9, name) for k in range(12) for t in range(6) for name in NAMES[:3]]
    lines = [f'{i},{t},"{name}",{random.normal():.3f}' for i, t, name in cells]
    (tmp_path / "t.csv").write_text("\n".join(["US$,a$^$b,what,value", *lines]) + "\n")
    given = data.read_long(tmp_path / "t.csv", series="US$", time="a$^$b", variable="what")
    model = tasks.SeriesModel(max_steps=0, random_state=0).fit(given)
    found = look(model, given)
    assert set(NAMES[:3]) <= found
    assert any(text.endswith(" $^0") for text in found)


def test_classes(look):
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = np.array(NAMES[:3])[np.arange(60) % 3]
    model = tasks.BayesianNetClassifier(max_steps=1, random_state=0).fit(x, y)
    assert set(NAMES[:3]) <= look(model, x)


def test_columns_of_tests(drawn, tmp_path):
    (tmp_path / "my.csv").write_text(table(NAMES[:4], 120))
    found = tasks.dependence(tmp_path / "my.csv", x=NAMES[:2], y=NAMES[2:4], random_state=0)
    tasks.write_result(found, tmp_path / "page")
    assert set(NAMES[:4]) <= set(drawn)
