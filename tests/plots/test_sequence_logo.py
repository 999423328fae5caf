"""Logos: letters as high as the information that they carry."""

import sys

import numpy as np
import pytest

from pullback.plots import figure, sequence_logo


def heights(ax):
    """Of the letters at each place, the top of the pile."""
    boxes = [patch.get_window_extent() for patch in ax.patches]
    back = ax.transData.inverted()
    tops = {}
    for box in boxes:
        (left, _), (right, top) = back.transform([(box.x0, box.y0), (box.x1, box.y1)])
        place = round((left + right) / 2)
        tops[place] = max(tops.get(place, 0), top)
    return tops


def test_a_pile_is_as_high_as_the_information():
    rows = np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0.1, 0.2, 0.3, 0.4]])
    _, ax = figure(height=2)
    sequence_logo(ax, rows)
    ax.figure.canvas.draw()
    want = 2 + np.sum(rows * np.log2(np.where(rows > 0, rows, 1)), axis=1)
    found = heights(ax)
    for place, bits in enumerate(want):
        if bits > 0.01:
            assert abs(found[place] - bits) < 0.05
    assert ax.get_ylim() == (0, 2)


@pytest.mark.parametrize("rows", [np.ones((3, 4)), np.ones((3, 3)) / 3, np.ones((0, 4))])
def test_what_are_no_shares_of_letters_is_refused(rows):
    _, ax = figure()
    with pytest.raises(ValueError, match="`frequencies` must"):
        sequence_logo(ax, rows)


def test_without_logomaker_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "logomaker", None)
    _, ax = figure()
    with pytest.raises(ImportError, match=r"pip install 'pullback\[dna\]'"):
        sequence_logo(ax, np.full((2, 4), 0.25))
