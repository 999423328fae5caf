"""docs/reproduction.md says what the results say, and notices when it does not."""

import json

import pytest

from pullback.recipes import papers
from pullback.runs import sources_digest


@pytest.fixture
def script(docs_script):
    return docs_script("make_reproduction")


@pytest.fixture
def arguments(tmp_path):
    return ["--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md")]


def _record(tmp_path, name, of=None, **claim):
    claim = {
        "sentence": "It is so", "value": 1.6634, "spread": 0.0521, "seeds": 3, "unit": "nats",
        "bound": "<= 1.8", "reference": "1.66 in the paper", "holds": True,
        "at_least": None, "at_most": 1.8, "headline": None,
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
    record |= of or {}
    (tmp_path / "results").mkdir(exist_ok=True)
    (tmp_path / "results" / f"{name}.json").write_text(json.dumps(record))


def test_the_page_holds_every_claim_and_its_spread(script, arguments, tmp_path):
    _record(tmp_path, "zeta", value="nan", spread=None, seeds=1, holds=False)
    _record(tmp_path, "cnf")
    _record(tmp_path, "neural-ode")
    assert script.main(arguments) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| It is so | 1.663 ± 0.052 nats | 3 | &lt;= 1.8 | 1.66 in the paper | yes | – |" in page
    assert "| It is so | nan nats | 1 | &lt;= 1.8 | 1.66 in the paper | **NO** | – |" in page
    # In the order of the recipes, what is not one of them after them.
    assert page.index("## cnf") < page.index("## neural-ode") < page.index("## zeta")
    assert "0 of 1 claims held" in page
    assert "`pullback run cnf --preset desk --epochs 9 --no-fast --seed 7`" in page
    assert "`pullback run unheard-of/data --preset desk --epochs 9 --no-fast --seed 7`" in page
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
    assert row.replace(r"\|", "").count("|") == 8
    assert r"a \| b \| c \`d\` &lt;script&gt; \*e\* \[f\](g)" in row


def test_no_results_are_said_to_be_none(script, arguments, tmp_path):
    script.main(arguments)
    assert "No result is recorded yet" in (tmp_path / "page.md").read_text()


BOUNDS = {"bound": ">= 1", "at_least": 1.0, "at_most": None}
GAIN = {"no_effect": 0.5, "paper": 4.0, "published": False}
HELD = {"value": 1.6634, "holds": True}
MISSED = {"value": 0.7, "holds": False}
AGAINST = {"value": -0.7, "holds": False}


def _headline(tmp_path, name, claim, sources=None, published=False):
    recipe = name.replace("-", "/")
    module = "pullback.recipes." + recipe.replace("/", ".")
    record = {"recipe": recipe, "sources": sources or sources_digest(module)}
    headline = GAIN | {"published": published}
    _record(tmp_path, name, record, **BOUNDS, headline=headline, **claim)


def _row(tmp_path, paper):
    lines = (tmp_path / "page.md").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"| {paper} |"))


def test_the_worst_claim_of_a_paper_is_its_verdict(script, arguments, tmp_path):
    _headline(tmp_path, "relax", HELD | {"sentence": "On digits"})
    _headline(tmp_path, "relax-mnist", MISSED | {"sentence": "On MNIST"})
    script.main(arguments)
    row = _row(tmp_path, "relax")
    assert row.count("**not reproduced**") == 1
    assert (
        "On digits: 1.663 ± 0.052 nats, 0.33 of the paper's effect (relax, desk, 3 seeds);" in row
    )
    assert "On MNIST: 0.700 ± 0.052 nats, 0.057 of" in row
    assert "(relax-mnist on mnist, desk, 3 seeds, not reproduced)" in row
    assert "**not measured**" in _row(tmp_path, "jem")
    page = (tmp_path / "page.md").read_text()
    assert f"Of {len(papers())} papers: 1 not reproduced, {len(papers()) - 1} not measured." in page
    assert "older code" not in page
    assert "- **relax**, not reproduced. " in page
    assert "- **jem**" not in page


def test_a_result_of_older_code_is_said_to_be_one(script, arguments, tmp_path):
    _headline(tmp_path, "relax", HELD, sources="0" * 16, published=True)
    _headline(tmp_path, "relax-mnist", HELD, published=True)
    script.main(arguments)
    assert "**reproduced (older code)**" in _row(tmp_path, "relax")
    page = (tmp_path / "page.md").read_text()
    assert "Of 2 results 1 are of older code" in page
    assert "no commit known, **older code**" in page
    assert script.main([*arguments, "--check"]) == 0


def test_a_recipe_that_changes_makes_the_page_stale(script, arguments, tmp_path, monkeypatch):
    _headline(tmp_path, "relax", HELD)
    script.main(arguments)
    assert script.main([*arguments, "--check"]) == 0
    monkeypatch.setattr("_verdicts.sources_digest", lambda module: "another")
    assert script.main([*arguments, "--check"]) == 1


def test_fresh_base_seeds_count_where_they_are_of_the_same_code(script, arguments, tmp_path):
    sources = sources_digest("pullback.recipes.relax")
    checks = tmp_path / "results" / "checks"
    checks.mkdir(parents=True)
    for of, told in ((sources, "contradicted"), ("0" * 16, "reproduced in kind")):
        _headline(tmp_path, "relax", HELD)
        record = json.loads((tmp_path / "results" / "relax.json").read_text())
        [claim] = record["claims"]
        found = [claim | each for each in (HELD, AGAINST, HELD)]
        fresh = {str(seed): {"claims": [each]} for seed, each in enumerate(found)}
        kept = {name: record[name] for name in ("recipe", "preset", "config")}
        kept |= {"sources": of, "setting": {}, "fresh": fresh}
        (checks / "relax.json").write_text(json.dumps(kept))
        script.main(arguments)
        assert f"**{told}**" in _row(tmp_path, "relax")
        page = (tmp_path / "page.md").read_text()
        assert ("| yes | 2 of 3 |" in page) is (of == sources)
        assert f"Of 1 results with a headline {int(of == sources)} were checked" in page
    for other in (kept | {"config": {}, "sources": sources}, kept | {"sources": sources}):
        first = {"0": {"claims": []}} if other["config"] else other["fresh"]
        (checks / "relax.json").write_text(json.dumps(other | {"fresh": first}))
        script.main(arguments)
        assert "**reproduced in kind**" in _row(tmp_path, "relax")
    (checks / "relax.json").write_text("{")
    with pytest.raises(ValueError, match=r"relax\.json is damaged: .*; delete it"):
        script.main(arguments)


def test_data_are_named_where_a_command_takes_them(script, arguments, tmp_path):
    _headline(tmp_path, "relax-mnist", HELD)
    _headline(tmp_path, "latent_sde-lorenz", HELD)
    record = tmp_path / "results" / "latent_sde-lorenz.json"
    record.write_text(record.read_text().replace("latent_sde/lorenz", "latent-sde/lorenz"))
    script.main(arguments)
    page = (tmp_path / "page.md").read_text()
    assert "`pullback run relax/mnist --data ... --preset desk" in page
    assert "`pullback run latent-sde/lorenz --preset desk --epochs" in page
