"""Every recipe at its smallest: what it leaves, and that a resumed run trains nothing again."""

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from pullback._promotion import standard_promotion
from pullback.recipes import load, papers
from pullback.runs import run


@pytest.mark.usefixtures("shared_programs")
@pytest.mark.parametrize("name", papers())
def test_the_smallest_run_leaves_all_it_should_and_resumes_to_the_same(name, tmp_path, monkeypatch):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), standard_promotion():
        _run_twice(name, tmp_path / "run", monkeypatch)


def _run_twice(name, folder, monkeypatch):
    experiment = load(name)
    smoke = experiment.presets["smoke"]
    # Of few pixels: all is drawn, and less is filled.
    save = Figure.savefig
    small = lambda *inputs, **settings: save(*inputs, **{**settings, "dpi": 72})
    monkeypatch.setattr(Figure, "savefig", small)
    record = run(experiment, smoke, preset="smoke", folder=folder)
    assert record["claims"]
    for claim in record["claims"]:
        assert np.isfinite(claim["value"]), claim["sentence"]
    pictures = [*(folder / "figures").glob("*.png")]
    assert pictures
    assert all(picture.stat().st_size > 5000 for picture in pictures)
    assert (folder / "report.html").stat().st_size > 20_000

    def trained(*inputs):
        raise AssertionError("trained a second time")

    monkeypatch.setattr("pullback.train._run.run_chunk", trained)
    # The pictures were looked at: drawn again from the same numbers, they are not rendered again.
    monkeypatch.setattr(Figure, "savefig", lambda *inputs, **settings: None)
    again = run(experiment, smoke, preset="smoke", folder=folder, resume=True)
    assert again["claims"] == record["claims"]
