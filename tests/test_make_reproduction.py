"""docs/reproduction.md says what the results say, and notices when it does not."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "make_reproduction.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_reproduction", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path):
    return ["--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md")]


def _record(tmp_path, name, **claim):
    claim = {
        "sentence": "It is so", "value": 1.6634, "spread": 0.0521, "seeds": 3, "unit": "nats",
        "bound": "<= 1.8", "reference": "1.66 in the paper", "holds": True,
        "headline": None, "verdict": None,
    } | claim  # fmt: skip
    record = {
        "recipe": name if name != "zeta" else "unheard-of/data",
        "title": "On Spoons", "arxiv": "1234.56789", "summary": "Counts.",
        "preset": "desk", "seed": 7, "changed": ["epochs", "fast"],
        "config": {"epochs": 9, "fast": False, "width": 3}, "claims": [claim],
        "sources": "0" * 16, "commit": None,
        "wall_seconds": 75.2, "legs": [70, 5.2] if name == "cnf" else [75.2],
        "versions": {"jax": "9.9.9", "python": "3.99"}, "finished": "2026-01-02 03:04 UTC",
        "machine": {"cpu": "abacus", "cores": 2, "device": "cpu"},
    }  # fmt: skip
    (tmp_path / "results").mkdir(exist_ok=True)
    (tmp_path / "results" / f"{name}.json").write_text(json.dumps(record))


def test_the_page_holds_every_claim_and_its_spread(script, arguments, tmp_path):
    _record(tmp_path, "zeta", value="nan", spread=None, seeds=1, holds=False)
    _record(tmp_path, "cnf")
    _record(tmp_path, "neural-ode")
    assert script.main(arguments) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| It is so | 1.663 ± 0.052 nats | 3 | &lt;= 1.8 | 1.66 in the paper | yes |" in page
    assert "| It is so | nan nats | 1 | &lt;= 1.8 | 1.66 in the paper | **NO** |" in page
    # In the order of the recipes, what is not one of them after them.
    assert page.index("## cnf") < page.index("## neural-ode") < page.index("## zeta")
    assert "0 of 1 claims held" in page
    assert "`pullback run cnf --preset desk --epochs 9 --no-fast --seed 7`" in page
    assert (
        "`pullback run unheard-of/data --preset desk --data ... --epochs 9 --no-fast --seed 7`"
        in page
    )
    assert "jax 9.9.9, python 3.99" in page
    assert "--seed 7` took 75 s in 2 legs on abacus" in page
    assert page.count(" legs on") == 1


def test_check_sees_a_stale_page_and_writes_nothing(script, arguments, tmp_path, capsys):
    _record(tmp_path, "cnf")
    check = [*arguments, "--check"]
    assert script.main(check) == 1
    assert not (tmp_path / "page.md").exists()
    script.main(arguments)
    assert script.main(check) == 0
    before = (tmp_path / "page.md").read_bytes()
    _record(tmp_path, "cnf", value=1.7)
    assert script.main(check) == 1
    assert "stale; run: python docs/make_reproduction.py" in capsys.readouterr().err
    assert (tmp_path / "page.md").read_bytes() == before
    script.main(arguments)
    assert script.main(check) == 0


def test_nothing_in_a_claim_can_break_the_table(script, arguments, tmp_path):
    _record(tmp_path, "cnf", sentence="a | b\n| c `d` <script> *e* [f](g)")
    script.main(arguments)
    [row] = [line for line in (tmp_path / "page.md").read_text().splitlines() if "script" in line]
    assert row.replace(r"\|", "").count("|") == 7
    assert r"a \| b \| c \`d\` &lt;script&gt; \*e\* \[f\](g)" in row


def test_no_results_are_said_to_be_none(script, arguments, tmp_path):
    script.main(arguments)
    assert "No result is recorded yet" in (tmp_path / "page.md").read_text()
