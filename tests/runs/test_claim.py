"""Claims decide for themselves whether they hold; recipes are checked when they are made."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_recipe
from pullback.runs import Claim, Experiment, Headline

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
NUMBER = st.floats(allow_nan=False)


@given(ANY_FLOAT, NUMBER, NUMBER)
def test_a_claim_holds_exactly_when_the_value_is_between_its_bounds(value, a, b):
    low, high = min(a, b), max(a, b)
    number = not math.isnan(value)
    # Sorting is the oracle: where the value comes to stand among the bounds.
    between = number and sorted([low, value, high])[1] == value
    assert Claim("s", value=value, at_least=low, at_most=high, reference="r").holds == between
    below = number and sorted([value, high])[1] == high
    assert Claim("s", value=value, at_most=high, reference="r").holds == below
    above = number and sorted([low, value])[0] == low
    assert Claim("s", value=value, at_least=low, reference="r").holds == above


@pytest.mark.parametrize(
    "bounds", [{"at_most": 1}, {"at_least": -1}, {"at_least": 0, "at_most": 1}]
)
def test_nan_never_holds(bounds):
    assert not Claim("s", value=math.nan, reference="r", **bounds).holds


@pytest.mark.parametrize(
    "bounds", [{}, {"at_most": math.nan}, {"at_least": 2, "at_most": 1}, {"at_least": math.nan}]
)
def test_a_claim_without_a_sensible_bound_is_refused(bounds):
    with pytest.raises(ValueError, match="at least one bound"):
        Claim("s", value=1.0, reference="r", **bounds)


def test_holds_cannot_be_given():
    with pytest.raises(TypeError):
        Claim("s", value=2.0, at_most=1.0, reference="r", holds=True)  # pyrefly: ignore
    with pytest.raises(AttributeError):
        Claim("s", value=2.0, at_most=1.0, reference="r").holds = True  # pyrefly: ignore


def test_bounds_as_text():
    def bound(**bounds):
        return Claim("s", value=0.0, reference="r", **bounds).bound

    assert bound(at_most=1.5) == "<= 1.5"
    assert bound(at_least=1e-7) == ">= 1e-07"
    assert bound(at_least=1.61, at_most=1.71) == "1.61 to 1.71"


def test_over_seeds_takes_mean_and_sample_standard_deviation():
    claim = Claim.over_seeds("s", [1.0, 2.0, 6.0], at_most=3, unit="nats", reference="r")
    assert (claim.value, claim.seeds, claim.unit) == (3.0, 3, "nats")
    assert claim.spread == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert Claim.over_seeds("s", [1.0], at_most=3, reference="r").spread is None
    with pytest.raises(ValueError, match="'s' has no values"):
        Claim.over_seeds("s", [], at_most=3, reference="r")


@pytest.mark.parametrize("value", [1.25, math.nan, math.inf, -math.inf])
def test_json_of_a_claim_is_strict_and_keeps_the_value(value):
    claim = Claim("s", value=value, spread=abs(value), at_most=2, reference="r")
    kept = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert float(kept["value"]) == pytest.approx(value, nan_ok=True)
    assert float(kept["spread"]) == pytest.approx(abs(value), nan_ok=True)
    assert kept["holds"] is claim.holds


def _recipe(config, presets):
    return Experiment("r", "0", "t", "s", config, presets, fake_recipe.run)


def test_an_experiment_needs_its_presets_of_one_type():
    config = fake_recipe.Config
    with pytest.raises(ValueError, match="give smoke and desk"):
        _recipe(config, {"smoke": config(), "paper": config()})
    with pytest.raises(ValueError, match="'desk' of experiment 'r' is a int"):
        _recipe(config, {"smoke": config(), "desk": 3, "paper": config()})


def test_a_field_may_not_hide_a_flag():
    @dataclass(frozen=True)
    class Config:
        seed: int = 0

    with pytest.raises(ValueError, match="field named 'seed'"):
        _recipe(Config, dict.fromkeys(Experiment.PRESETS, Config()))


def headline(value, *, no_effect=0.0, published=False, spread=None, seeds=1, **bounds):
    of = Headline(no_effect, published=published)
    return Claim(
        "s", value=value, spread=spread, seeds=seeds, reference="r", headline=of, **bounds
    ).verdict


def test_verdicts_of_a_headline():
    assert Claim("s", value=1.0, at_least=0, reference="r").verdict is None
    assert headline(1.0, at_least=0.5) == "reproduced in kind"
    assert headline(1.0, at_least=0.5, published=True) == "reproduced"
    assert headline(0.2, at_least=0.5) == "not reproduced"
    assert headline(-0.2, at_least=0.5) == "not reproduced"  # one run cannot contradict
    for bounds, value in (({"at_least": 0.5}, -0.2), ({"at_most": -0.5}, 0.2)):
        assert headline(value, spread=0.01, seeds=3, **bounds) == "contradicted"
    assert headline(-0.2, at_most=-0.5) == "not reproduced"
    assert headline(math.nan, at_least=0.5) == "not reproduced"
    # Student's t of three degrees of freedom, 3.1824, over the root of four seeds: 1.5912.
    assert headline(-1.58, at_least=0.5, spread=1.0, seeds=4) == "not reproduced"
    assert headline(-1.60, at_least=0.5, spread=1.0, seeds=4) == "contradicted"
    assert headline(1.60, at_least=0.0, spread=1.0, seeds=4) == "reproduced in kind"
    assert headline(1.58, at_least=0.0, spread=1.0, seeds=4) == "not reproduced"
    assert headline(0.0, at_least=0.0) == "not reproduced"
    # Between two bounds: no effect lies above.
    two = {"no_effect": 2.0, "at_least": 0.5, "at_most": 1.0, "spread": 0.01, "seeds": 3}
    assert headline(2.2, **two) == "contradicted"
    assert headline(0.2, no_effect=2.0, at_least=0.5, at_most=1.0) == "not reproduced"


@pytest.mark.parametrize("bounds", [{"at_least": -0.1}, {"at_most": 0.1}])
def test_a_headline_that_holds_without_an_effect_is_refused(bounds):
    with pytest.raises(ValueError, match=r"'s' would hold at no_effect=0"):
        headline(1.0, **bounds)


@pytest.mark.parametrize("figures", [(math.nan, None), (0, math.inf), (1.0, 1.0)])
def test_a_headline_needs_figures_that_differ(figures):
    no_effect, paper = figures
    with pytest.raises(ValueError, match="two finite figures that differ"):
        Headline(no_effect, paper=paper)


@pytest.mark.parametrize("value", [1.5, math.nan, math.inf])
def test_a_claim_comes_back_as_it_was_kept(value):
    figure = Headline(np.float32(0), paper=3)  # pyrefly: ignore
    claim = Claim.over_seeds("s", [value, 2.0, 1.9], at_least=0.5, reference="r", headline=figure)
    kept = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert kept["headline"] == {"no_effect": 0, "paper": 3, "published": False}
    again = Claim.from_json(kept)
    assert (again.holds, again.verdict) == (claim.holds, claim.verdict)
    assert json.dumps(again.to_json()) == json.dumps(kept)
    plain = Claim("s", value=1, at_least=0, at_most=math.inf, reference="r")
    assert Claim.from_json(plain.to_json()) == plain


def test_a_seed_that_is_no_number_is_a_claim_that_does_not_hold():
    for bad in (math.nan, math.inf):
        claim = Claim.over_seeds("s", [bad, 1.0], at_most=3, at_least=-3, reference="r")
        assert not claim.holds
        assert math.isnan(claim.spread)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"seeds": 0}, "seeds=0"), ({"spread": -1.0}, "spread=-1"),
     ({"headline": Headline(0, paper=-1)}, "paper=-1 on the other side")],
)  # fmt: skip
def test_figures_that_a_claim_cannot_have(fields, message):
    with pytest.raises(ValueError, match=message):
        Claim("s", value=1.0, at_least=0.5, reference="r", **fields)
