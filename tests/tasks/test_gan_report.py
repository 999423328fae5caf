"""What is said of samples, by their figures alone."""

import pytest

from pullback.tasks._gan_report import COPULA, OURS, checks


@pytest.mark.parametrize(
    ("area", "good", "said"),
    [
        (0.06, False, "repeat some of 90 rows held out"),
        (0.47, True, "does not tell"),
        (0.52, True, "does not tell"),
        (0.70, False, "tells samples from 90 rows"),
    ],
)
def test_a_classifier_tells_samples_or_does_not_or_they_repeat_the_rows(area, good, said):
    figures = {"standard_error": 0.02, "density": 1.0, "coverage": 0.97, "expected_coverage": 0.97}
    report = {"rows": 90, OURS: {"auroc": area, **figures}, COPULA: {"auroc": 0.5, **figures}}
    first = checks(report)[0]
    assert first.good is good
    assert said in first.sentence
