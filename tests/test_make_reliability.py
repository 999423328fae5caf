"""docs/reliability.md says what was measured, and notices when it does not."""

import json

import pytest


@pytest.fixture
def script(docs_script):
    return docs_script("make_reliability")


@pytest.fixture
def arguments(tmp_path):
    about = {"measured": "2026-01-02", "versions": {"python": "3.99", "jax": "9.9"}}
    counts = {"files": 300, "refused": 200, "same": 60, "other": 40, "faults": 0, "seconds": 0.04}
    kept = {**counts, "name": "stage", "guarded": True, "refused": 239, "other": 0, "faults": 1}
    cases = [{"name": "read_idx", "guarded": False, **counts}, kept]
    bits = [{"name": "stage", "bytes": 1000, "cuts": 1000, "flips": 8000, "refused": 8999}]
    kills = [{"name": "fit", "kills": 50, "left_something": 31, "done": 12, "same": 11}]
    (tmp_path / "fuzz.json").write_text(
        json.dumps({**about, "files": 300, "cases": cases, "bits": bits})
    )
    (tmp_path / "kills.json").write_text(json.dumps({**about, "kills": kills}))
    return ["--results", str(tmp_path), "--page", str(tmp_path / "page.md")]


def test_the_page_has_every_figure(script, arguments, tmp_path):
    assert script.main(arguments) == 0
    page = (tmp_path / "page.md").read_text()
    assert "600 files of 2 kinds, 300 of each, by seed (2026-01-02; python 3.99, jax 9.9)" in page
    assert "439 were refused" in page
    assert "**1** ended in anything" in page
    assert "| read_idx | no | 300 | 200 | 60 | 40 | 0 |" in page
    assert "| stage | yes | 300 | 239 | 60 | 0 | 1 |" in page
    assert "1,000 bytes (stage): 8,999 of 9,000 were refused" in page
    assert "| `fit` | 50 | 31 | 12 | 11 |" in page


def test_a_stale_page_is_told(script, arguments, tmp_path, capsys):
    assert script.main([*arguments, "--check"]) == 1
    assert "is stale; run: python docs/make_reliability.py" in capsys.readouterr().err
    script.main(arguments)
    assert script.main([*arguments, "--check"]) == 0
    (tmp_path / "page.md").write_text("promises")
    assert script.main([*arguments, "--check"]) == 1
