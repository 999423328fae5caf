"""A picture of hyperparameters over a training: each of them, as it was used."""

import numpy as np
import pytest

from pullback.bilevel import Recorded, Schedule
from pullback.plots import house_style, schedule_figure


def test_every_hyperparameter_has_its_panel_and_its_line():
    hyper = {
        "many": np.arange(24.0).reshape(3, 8),
        "rates": Recorded(np.asarray([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])),
        "decay": [np.asarray([1e-4, 1.0, 1e-2])],
        "zero": np.asarray([0.0, 1.0, 2.0]),
    }
    with house_style():
        fig = schedule_figure(Schedule([0, 10, 30], hyper))
    axes = {ax.get_title("left"): ax for ax in fig.axes if ax.get_visible()}
    assert list(axes) == ["decay.0", "many", "rates", "zero"]
    first, second = axes["rates"].get_lines()
    np.testing.assert_allclose(second.get_data(), [[0, 10, 30], [0.2, 0.4, 0.6]], rtol=1e-6)
    assert (first.get_label(), first.get_drawstyle()) == ("[0]", "steps-post")
    assert len(axes["many"].get_lines()) == 9
    np.testing.assert_allclose(axes["many"].get_lines()[-1].get_ydata(), [3.5, 11.5, 19.5])
    assert [axes[name].get_yscale() for name in axes] == ["log", "linear", "linear", "linear"]
    assert axes["zero"].get_xlabel() == "training steps"


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="got 1 arrays and 0"):
        schedule_figure(Schedule([0], np.ones(1)), columns=0)
